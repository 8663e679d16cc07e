"""Study: what it costs to cut a network where its nearest class centres decide as it does."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

OURS = (
    "ours; Parker et al. 2023 find the layers after some depth of little use to nearest centres "
    "(abstract and code read)"
)
READ = (
    "the block after which nearest class centres of training samples decide as the network does on "
    "all but 1 % of training samples"
)

CLAIMS: tuple[Claim, ...] = (
    worst("prune-trained", OURS, Bar(high=0.0), "%")(
        "Every network ends at zero training error. Measured: the largest training error."
    ),
    mean("prune-cost", OURS, Bar(high=1.0), "points")(
        f"Cutting after {READ}, with a head refitted in closed form, costs at most one point of "
        "test accuracy. Measured: test accuracy of the whole network less that of the cut one, "
        "over architectures and seeds."
    ),
    mean("prune-earlier", OURS, Bar(low=0.0), "points")(
        "Cutting there loses less than cutting one block earlier. Measured: paired difference of "
        "test accuracies; before the first block stand the inputs."
    ),
    mean("prune-random", OURS, Bar(low=0.0), "points")(
        "Cutting there loses less than cutting after a block drawn at random. Measured: paired "
        "difference of test accuracies, of the other side the mean over all blocks."
    ),
    mean("prune-blocks", OURS, Bar(low=0.1))(
        "There is something to cut: the reading leaves out a tenth of the blocks or more. "
        "Measured: share of blocks after it."
    ),
)
BASIS = {
    "prune-trained": "the premise: past zero error; one sample refutes",
    "prune-cost": "ours: one point; no network was read before the bar was set",
    **dict.fromkeys(("prune-earlier", "prune-random"), "ours: 0 would be no better"),
    "prune-blocks": "ours: less would make the other claims empty",
}
WORK = "ncollapse.studies.prune.runs:network"
MINE = ids(CLAIMS)
ARCHITECTURES = ("mlp", "cnn", "resnet", "transformer")
RECIPE = {"batch_size": 128, "learning_rate": 0.05, "weight_decay": 5e-4}
LONG = {"epochs": By(2, 100, 200)}
SLOW = {"batch_size": 64, "learning_rate": 0.02, "weight_decay": 0.0}

STUDY = Study(
    name="prune",
    question=(
        "From which block on is a network finished, and what does cutting the blocks after it, one "
        "block earlier, or at random cost in test accuracy?"
    ),
    paper="Parker et al. 2023, Neural collapse in the intermediate hidden layers",
    claims=noted(CLAIMS, BASIS, {}),
    settings=sizes(
        seeds=By(1, 3, 10),
        first_seed=By(0, 100, 100),
        samples=By(200, 0, 0),
        tolerance=0.01,
        mlp=RECIPE | {"depth": By(3, 10, 10), "width": By(16, 64, 64), "epochs": By(2, 40, 150)},
        cnn=RECIPE | {"depth": By(3, 6, 6), "width": By(4, 16, 16), "epochs": By(2, 30, 150)},
        # Blocks in each of four stages.
        resnet=RECIPE | {"depth": By(1, 2, 2), "width": By(4, 8, 8), "epochs": By(2, 20, 100)},
        transformer=SLOW | {"depth": By(2, 6, 6), "width": By(8, 32, 32), **LONG},
    ),
    parts=tuple(Part(name, WORK, MINE, given={"architecture": name}) for name in ARCHITECTURES),
    draw="ncollapse.studies.prune.figures:draw",
    place=130,
)
