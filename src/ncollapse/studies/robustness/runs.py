"""Runs of the robustness study: networks by severity of collapse and by training, under attack."""

from __future__ import annotations

from math import log10, nan

from ncollapse.downstream.attacks import PGD
from ncollapse.downstream.hardening import adversarial_step, trades_step
from ncollapse.lab.hardened import Step, few_digits, harden, network, set_points
from ncollapse.lab.readings import NC1, reading
from ncollapse.lab.statistics import slope
from ncollapse.lab.struck import CLIP, LAYERS, at_sizes, looked, pixels, targeted, withstood
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings

ANGLE = "nc2_maxangle_means"
STEPS: dict[str, Step] = {"adversarial": adversarial_step, "trades": trades_step}


def networks(settings: Plan, seed: int) -> Outcome:
    """One collapsed network, attacked in all ways; and one a set point of the thermostat."""
    data, sweep = few_digits(settings["samples"], seed), settings["sweep"]
    eps, how = settings["eps"]["near"], {**settings["look"], "seed": seed}
    steps = how["steps"]
    model, accuracy = network(data, Settings.of(settings, seed=seed))
    found = looked(model, data, eps, layers=LAYERS, **how)
    grid, ordered = at_sizes(model, data, settings["eps"]["all"], steps, seed)
    to = targeted(model, data, settings["eps"]["far"], steps, seed)
    plan = Settings.of({**settings, **sweep}, seed=seed)
    rows, loose = set_points(
        data, plan, sweep["points"], lambda one: withstood(one, data, sweep["eps"], steps, seed)
    )
    drifting = looked(loose, data, eps, test=False, noise=False, **how)
    hostile, drift = found["train@pgd"], drifting["train@pgd"]["leap_between"]
    both, layers = (hostile, found["test@pgd"]), found["test@pgd"]["layers"]
    clean = [row["accuracy"] for row in rows]
    rise = slope([log10(row["point"]) for row in rows], [row["robust"] for row in rows])
    values = {
        "robustness-vanishes": log10(hostile[NC1] / found["train"][NC1]),
        "robustness-noise": log10(hostile[NC1] / found["train@noise"][NC1]),
        "robustness-leap-predicted": min(one["leap_predicted"] for one in both),
        "robustness-leap-own": max(one["leap_own"] for one in both),
        "robustness-leap-path": hostile["leap_between"] / drift if drift else nan,
        "robustness-leap-equal": 100 * (accuracy - clean[-1]),
        "robustness-eps": ordered,
        "robustness-early": 100 * (layers[LAYERS[0]] - layers["head"]),
        "robustness-targeted": to["target"],
        "robustness-targeted-true": to["true"],
        "robustness-over-collapse": 100 * rise,
        "robustness-over-collapse-clean": 100 * (max(clean) - min(clean)),
    }
    robust = withstood(model, data, sweep["eps"], steps, seed)
    kept = {"grid": grid, "targeted": to, "rows": rows, "drifting": drifting}
    kept["plain"] = {"accuracy": accuracy, "robust": robust, "nc1": found["train"][NC1]}
    kept["pixels"] = pixels(model, data, eps, steps, seed)
    return outcome(values, found=found, **kept)


def hardened(settings: Plan, seed: int) -> Outcome:
    """Adversarial training and TRADES from one start, on the same batches."""
    data, plan = few_digits(settings["samples"], seed), settings["hard"]
    eps, found, used = settings["eps"]["near"], {}, {}
    attack = PGD(eps, steps=plan["steps"], clip=CLIP)
    for name, step in STEPS.items():
        model, last = harden(data, Settings.of({**settings, **plan}, seed=seed), step, attack)
        found[name] = looked(model, data, eps, layers=LAYERS, seed=seed, **settings["look"])
        used[name] = {key: reading(model, last, key) for key in (NC1, ANGLE)}
    mine, theirs = found["adversarial"], found["trades"]
    hostile = mine["test@pgd"]
    loose = min(used["trades"][key] / used["adversarial"][key] for key in (NC1, ANGLE))
    values = {
        "robustness-adversarial-angle": mine["train@pgd"]["mean_angle"],
        "robustness-adversarial-nc1": log10(mine["train@pgd"][NC1] / mine["train"][NC1]),
        "robustness-adversarial-centres": 100 * (hostile["ncc_accuracy"] - hostile["accuracy"]),
        "robustness-trades-simplex": log10(loose),
        "robustness-trades-accuracy": 100 * (theirs["test@pgd"]["accuracy"] - hostile["accuracy"]),
    }
    return outcome(values, found=found, used=used)
