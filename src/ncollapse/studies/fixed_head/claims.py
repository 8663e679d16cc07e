"""Study: what a fixed simplex head costs in accuracy, and what it saves."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

ZHU = "Zhu et al. 2021 (statements remembered, not read); the bar is ours"
COUNTED = "Zhu et al. 2021 state over 20 % on ResNet-18 (remembered); the count is derived"
NETWORKS = {"mlp": "MLP", "resnet": "small ResNet"}
WIDTHS = {"full": "at the full width", "narrow": "at d = K"}


def _pair(network: str, width: str) -> tuple[Claim, Claim]:
    """The two claims on one network and width: the interval, and the mean."""
    said = f"{NETWORKS[network]}, fixed simplex head {WIDTHS[width]} against learned head"
    return (
        Claim(
            f"fixed-head-{network}-{width}",
            f"{said}: test accuracies agree within a point. Measured: paired difference over 5 "
            "folds of all 1,797 digits and 3 seeds, 95 % interval.",
            ZHU,
            Bar(low=-1.0, high=1.0),
            unit="points",
            rule="mean",
            seeds=15,
        ),
        Claim(
            f"fixed-head-{network}-{width}-mean",
            f"{said}: the mean difference is within half a point. Measured: mean paired "
            "difference of test accuracy over folds and seeds.",
            ZHU,
            Bar(low=-0.5, high=0.5),
            unit="points",
        ),
    )


ACCURACY = {
    network: tuple(claim for width in WIDTHS for claim in _pair(network, width))
    for network in NETWORKS
}
SAVINGS = (
    Claim(
        "fixed-head-resnet18",
        "ResNet-18 with the 7 × 7 stem, 10 classes, d = K: 11,181,642 parameters become 8,867,442, "
        "with the frame a buffer and the bias kept. Measured: larger deviation of the two counts.",
        COUNTED,
        Bar(high=0.0),
        unit="parameters",
    ),
    Claim(
        "fixed-head-resnet18-share",
        "These are 20.70 % fewer. Measured: share of parameters saved.",
        COUNTED,
        Bar(low=20.695, high=20.705),
        unit="%",
    ),
    Claim(
        "fixed-head-resnet50-share",
        "On ResNet-50 it pays less, 4.45 %. Measured: share of parameters saved.",
        COUNTED,
        Bar(low=4.445, high=4.455),
        unit="%",
    ),
    Claim(
        "fixed-head-many-classes",
        "On ResNet-18 with more than 512 classes it costs. Measured: share of parameters saved, "
        "the largest at 513 and 1,000 classes.",
        "derived",
        Bar(high=0.0),
        unit="%",
    ),
    Claim(
        "fixed-head-activations",
        "What is saved is parameters and optimiser state, not activations. Measured: share saved "
        "of what a training step of ResNet-18 keeps for its backward pass (computed), the largest "
        "over image sizes.",
        "derived; the bar, a quarter of the share of parameters, is ours",
        Bar(high=5.0),
        unit="%",
    ),
    Claim(
        "fixed-head-memory",
        "Over 20 % of the memory of training ResNet-18 is saved at d = K. Measured: share of the "
        "peak that torch's allocator holds over two steps of SGD with momentum, on the CPU; the "
        "largest over batches.",
        "Zhu et al. 2021 (remembered, not read: memory, without saying which)",
        Bar(low=20.0),
        unit="%",
    ),
)
# Images and their sides: small ones as on CIFAR, large ones as on ImageNet.
BATCHES = [[128, 32], [32, 224]]
RUNS = "ncollapse.studies.fixed_head.runs"

STUDY = Study(
    name="fixed-head",
    question=(
        "Does a classifier that is a fixed simplex reach the accuracy of a learned one, at full "
        "width and with as few features as classes, and what does that save?"
    ),
    paper="Zhu et al. 2021, A geometric analysis of neural collapse with unconstrained features",
    claims=(*ACCURACY["mlp"], *ACCURACY["resnet"], *SAVINGS),
    settings={
        "mini": {
            "seeds": 1,
            "folds": 2,
            "mlp": {"epochs": 2, "weight_decay": 5e-3, "batch_size": 128},
            "resnet": {"epochs": 1, "weight_decay": 5e-4, "batch_size": 128, "width": 4},
            "classes": [10, 513],
            "batches": [[8, 32]],
        },
        # Folds and seeds are those of the claims; only epochs are fewer than in the full size.
        "quick": {
            "seeds": 3,
            "folds": 5,
            "mlp": {"epochs": 60, "weight_decay": 5e-3, "batch_size": 128},
            "resnet": {"epochs": 30, "weight_decay": 5e-4, "batch_size": 128, "width": 16},
            "classes": [10, 100, 300, 511, 512, 513, 700, 1000],
            "batches": BATCHES,
        },
        "full": {
            "seeds": 3,
            "folds": 5,
            "mlp": {"epochs": 200, "weight_decay": 5e-3, "batch_size": 128},
            "resnet": {"epochs": 150, "weight_decay": 5e-4, "batch_size": 128, "width": 32},
            "classes": [10, 100, 300, 511, 512, 513, 700, 1000],
            "batches": BATCHES,
        },
    },
    parts=(
        Part("mlp", f"{RUNS}:perceptron", tuple(claim.id for claim in ACCURACY["mlp"])),
        Part("resnet", f"{RUNS}:residual", tuple(claim.id for claim in ACCURACY["resnet"])),
        Part("savings", f"{RUNS}:savings", tuple(claim.id for claim in SAVINGS), seeded=False),
    ),
    combine=f"{RUNS}:combine",
    draw=f"{RUNS}:draw",
)
