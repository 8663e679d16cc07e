"""Study: what a fixed simplex head costs in accuracy, and what it saves."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

ZHU = "Zhu et al. 2021 (statements remembered, not read); the bar is ours"
COUNTED = "Zhu et al. 2021 state over 20 % on ResNet-18 (remembered); the count is derived"
DERIVED = "derived; the bar, a quarter of the share of parameters, is ours"
MEMORY = "Zhu et al. 2021 (remembered, not read: memory, without saying which)"
NETWORKS = {"mlp": "MLP", "resnet": "small ResNet"}
WIDTHS = {"full": "at the full width", "narrow": "at d = K"}


def _pair(network: str, width: str) -> tuple[Claim, Claim]:
    """The two claims on one network and width: the interval, and the mean."""
    said = f"{NETWORKS[network]}, fixed simplex head {WIDTHS[width]} against learned head"
    return (
        mean(f"fixed-head-{network}-{width}", ZHU, Bar(low=-1.0, high=1.0), "points", seeds=15)(
            f"{said}: test accuracies agree within a point. Measured: paired difference over 5 "
            "folds of all 1,797 digits and 3 seeds, 95 % interval."
        ),
        worst(f"fixed-head-{network}-{width}-mean", ZHU, Bar(low=-0.5, high=0.5), "points")(
            f"{said}: the mean difference is within half a point. Measured: mean paired "
            "difference of test accuracy over folds and seeds."
        ),
    )


ACCURACY = {
    network: tuple(claim for width in WIDTHS for claim in _pair(network, width))
    for network in NETWORKS
}
SAVINGS = (
    worst("fixed-head-resnet18", COUNTED, Bar(high=0.0), "parameters")(
        "ResNet-18 with the 7 × 7 stem, 10 classes, d = K: 11,181,642 parameters become 8,867,442, "
        "with the frame a buffer and the bias kept. Measured: larger deviation of the two counts."
    ),
    worst("fixed-head-resnet18-share", COUNTED, Bar(low=20.695, high=20.705), "%")(
        "These are 20.70 % fewer. Measured: share of parameters saved."
    ),
    worst("fixed-head-resnet50-share", COUNTED, Bar(low=4.445, high=4.455), "%")(
        "On ResNet-50 it pays less, 4.45 %. Measured: share of parameters saved."
    ),
    worst("fixed-head-many-classes", "derived", Bar(high=0.0), "%")(
        "On ResNet-18 with more than 512 classes it costs. Measured: share of parameters saved, "
        "the largest at 513 and 1,000 classes."
    ),
    worst("fixed-head-activations", DERIVED, Bar(high=5.0), "%")(
        "What is saved is parameters and optimiser state, not activations. Measured: share saved "
        "of what a training step of ResNet-18 keeps for its backward pass (computed), the largest "
        "over image sizes."
    ),
    worst("fixed-head-memory", MEMORY, Bar(low=20.0), "%")(
        "Over 20 % of the memory of training ResNet-18 is saved at d = K. Measured: share of the "
        "peak that torch's allocator holds over two steps of SGD with momentum, on the CPU; the "
        "largest over batches."
    ),
)
# Images and their sides: small ones as on CIFAR, large ones as on ImageNet.
BATCHES = [[128, 32], [32, 224]]
CLASSES = [10, 100, 300, 511, 512, 513, 700, 1000]
RUNS = "ncollapse.studies.fixed_head.runs"

STUDY = Study(
    name="fixed-head",
    question=(
        "Does a classifier that is a fixed simplex reach the accuracy of a learned one, at full "
        "width and with as few features as classes, and what does that save?"
    ),
    paper="Zhu et al. 2021, A geometric analysis of neural collapse with unconstrained features",
    claims=(*ACCURACY["mlp"], *ACCURACY["resnet"], *SAVINGS),
    settings=sizes(
        seeds=By(1, 3, 3),
        folds=By(2, 5, 5),
        # Folds and seeds of the quick size are those of the claims; only epochs are fewer.
        mlp={"epochs": By(2, 60, 200), "weight_decay": 5e-3, "batch_size": 128},
        resnet={
            "epochs": By(1, 30, 150),
            "weight_decay": 5e-4,
            "batch_size": 128,
            "width": By(4, 16, 32),
        },
        classes=By([10, 513], CLASSES, CLASSES),
        batches=By([[8, 32]], BATCHES, BATCHES),
    ),
    parts=(
        Part("mlp", f"{RUNS}:perceptron", ids(ACCURACY["mlp"])),
        Part("resnet", f"{RUNS}:residual", ids(ACCURACY["resnet"])),
        Part("savings", f"{RUNS}:savings", ids(SAVINGS), seeded=False),
    ),
    combine=f"{RUNS}:combine",
    draw="ncollapse.studies.fixed_head.figures:draw",
    place=70,
)
