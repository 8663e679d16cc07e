"""Figures of the robustness study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves

draw = Drawing()
LAYERS = ("pixels", "relu0", "relu1", "head")


@draw.figure("networks", x="eps", y="reading")
def sizes(area: Axes, ink: Ink, networks: Runs) -> None:
    """Accuracy and cosines of flipped samples to their own and to the predicted vertex by size of
    the attack, training split, one line a seed."""
    names = {"accuracy": "accuracy", "leap_own": "to own", "leap_predicted": "to predicted"}
    for run in networks:
        series = {said: columns(run["grid"], "eps", key) for key, said in names.items()}
        curves(area, ink, series, "o-", markersize=3)


@draw.figure("networks", "hardened", x="layer", y="accuracy of nearest clean centres, test")
def layers(area: Axes, ink: Ink, networks: Runs, hardened: Runs) -> None:
    """Nearest-centre accuracy with clean means by layer on clean, attacked and noisy inputs;
    dashed: on attacked ones after adversarial training."""
    names = {"clean": "test", "pgd": "test@pgd", "noise": "test@noise"}
    for run in networks:
        series = {
            name: (
                range(len(LAYERS)),
                [run["pixels"][name], *(run["found"][split]["layers"][x] for x in LAYERS[1:])],
            )
            for name, split in names.items()
        }
        curves(area, ink, series, "o-", markersize=3)
    for run in hardened:
        by = run["found"]["adversarial"]["test@pgd"]["layers"]
        values = [by[layer] for layer in LAYERS[1:]]
        area.plot(range(1, 4), values, "o--", color=ink.fourth, label="pgd, trained against it")
    area.set_xticks(range(len(LAYERS)), LAYERS)


@draw.figure("networks", x="set point of nc1_fisher", y="test accuracy under PGD", log="x")
def severity(area: Axes, ink: Ink, networks: Runs) -> None:
    """Robust accuracy by set point of the thermostat; crosses: none, at the NC1 reached."""
    for run, colour in zip(networks, ink.all * len(networks), strict=False):
        points = columns(run["rows"], "point", "robust")
        area.plot(*points, "o-", color=colour, label=f"seed {run['seed']}")
        area.plot([run["plain"]["nc1"]], [run["plain"]["robust"]], "x", color=colour)
