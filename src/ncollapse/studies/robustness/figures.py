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
    area.set_ylim(-0.4, 1.05)


@draw.figure("networks", x="eps", y="nc1_fisher under attack", log="y")
def vanishing(area: Axes, ink: Ink, networks: Runs) -> None:
    """NC1 of attacked training samples by size of the attack, one line a seed; dashed: clean."""
    for run, colour in zip(networks, ink.all * len(networks), strict=False):
        area.plot(*columns(run["grid"], "eps", "nc1_fisher"), "o-", color=colour, markersize=3)
        area.axhline(run["found"]["train"]["nc1_fisher"], color=colour, linestyle="--")


@draw.figure("networks", x="layer", y="accuracy of nearest clean centres, test")
def layers(area: Axes, ink: Ink, networks: Runs) -> None:
    """Nearest-centre accuracy with clean means by layer, on clean, attacked and noisy inputs."""
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
    area.set_xticks(range(len(LAYERS)), LAYERS)
    area.set_ylim(0, 1.03)


@draw.figure("networks", x="set point of nc1_fisher", y="test accuracy under PGD", log="x")
def severity(area: Axes, ink: Ink, networks: Runs) -> None:
    """Robust accuracy by set point of the thermostat; crosses: none, at the NC1 reached."""
    for run, colour in zip(networks, ink.all * len(networks), strict=False):
        points = columns(run["rows"], "point", "robust")
        area.plot(*points, "o-", color=colour, label=f"seed {run['seed']}")
        area.plot([run["plain"]["nc1"]], [run["plain"]["robust"]], "x", color=colour)


@draw.figure("hardened", x="layer", y="accuracy of nearest clean centres, test, PGD")
def training(area: Axes, ink: Ink, hardened: Runs) -> None:
    """Nearest-centre accuracy with clean means by layer on attacked test samples, after adversarial
    training and TRADES."""
    for run in hardened:
        found = {name: splits["test@pgd"]["layers"] for name, splits in run["found"].items()}
        series = {
            name: (range(3), [by[layer] for layer in LAYERS[1:]]) for name, by in found.items()
        }
        curves(area, ink, series, "o-", markersize=3)
    area.set_xticks(range(3), LAYERS[1:])
    area.set_ylim(0, 1.03)
