"""measure_attack: clean inputs, attacked ones and noise of the same size, as splits of one
measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any

from torch import nn

from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.tap.batches import Unpack
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.downstream.attacks import NORMS, PGD, Attack, Clip, Noise, attacked, with_clip
from ncollapse.downstream.robustness import (
    GROUPS,
    POINTS,
    WALKED,
    leap_plane,
    regrouped,
    seen,
    twins_of,
    way_curves,
)
from ncollapse.measuring.attack_data import (
    Pairs,
    Unpacked,
    bounds_of,
    collected,
    largest_move,
    reference_seen,
)
from ncollapse.measuring.loaders import split_loaders
from ncollapse.measuring.measure import MODEL_KEYWORDS, measure
from ncollapse.measuring.measurement import Measurement
from ncollapse.measuring.options import options_of
from ncollapse.metrics.catalog import of_task
from ncollapse.record.readings import Reading, Results, reference_of

AT, NOISE = "@", "noise"
AUTO = "auto"


def measure_attack(
    model: nn.Module,
    data: Any = None,
    *,
    train: Any = None,
    test: Any = None,
    attack: str | Attack = "pgd",
    eps: float | None = None,
    norm: str = "linf",
    steps: int = 20,
    step_size: float | None = None,
    random_start: bool = True,
    targeted: bool = False,
    clip: Clip | str = AUTO,
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    noise: bool = True,
    points: int = POINTS,
    walked: int = WALKED,
    unpack: Unpack | None = None,
    limit: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
    head: str | nn.Module | None = None,
    **options: Any,
) -> Measurement:
    """Neural collapse under attack: every reading of `measure` on clean inputs, on attacked ones
    (split `test@pgd`) and on noise of the same size (`test@noise`), at the head and at `layers`.

    Accuracy of `test@pgd` is the robust accuracy; `ncc_accuracy` there is that of nearest clean
    means of the reference split, layer by layer. `test@pgd` and `test@noise` have the rows of the
    family `leap` too (`ncollapse explain leap_predicted`): who flips, where flipped features leap
    to, the angle of clean and attacked class means.

    attack: "noise" alone, "pgd" with `eps`, `norm` ("linf", "l2"), `steps`, `step_size` and
    `random_start` (see `ncollapse.downstream.attacks.PGD`), or any function attack(model, inputs,
    labels) → inputs; then noise has `eps`, or the largest size that it moved an input by. targeted:
    labels handed to the attack are (y + 1) mod K. clip: bounds of valid entries, None for none; by
    default the lowest and the highest entry of the clean inputs. groups: by what attacked samples
    are grouped into classes: "true" (their labels), "target", "predicted"; the last two are splits
    of their own (`test@pgd:predicted`). By default "true", and "target" too where attacks have one.
    splits: which are attacked, by default all. Inputs of these are held in memory: bound them by
    `limit`. points, walked: steps of the way from x to its twin, and for how many flipped samples.
    Other keywords are those of `measure`.

    The model is attacked and read in eval mode; its mode, buffers, gradients and the global random
    states are put back. Raises ValueError for eps that is not positive, inputs outside `clip`,
    attacks that return another shape, labels that are missing or no class numbers, models without
    a head, several processes, and whatever `measure` raises.

    >>> m = measure_attack(model, test=loader, eps=8 / 255, clip=(0, 1))     # doctest: +SKIP
    >>> m.value("accuracy", "test@pgd"), m.value("leap_predicted", "test@pgd")  # doctest: +SKIP
    """
    options_of(
        "measure_attack",
        {key: value for key, value in options.items() if key not in MODEL_KEYWORDS},
        MODEL_KEYWORDS,
    )
    if Ranks.current() is not None:
        raise ValueError("attacks run in one process; call measure_attack without torchrun")
    chosen = _chosen(attack, eps, norm, steps, step_size, random_start, targeted, seed)
    name = _name(chosen)
    noise = noise and name != NOISE
    wanted = _groups(groups, targeted)
    loaders = split_loaders(data, train, test)
    missing = [split for split in splits or () if split not in loaders]
    if missing:
        raise ValueError(f"splits names {missing[0]!r}; there are {', '.join(loaders)}")
    ignored = options.get("ignore_index", -100)
    held = {
        split: collected(loader, split, unpack, limit, batch_size, ignored)
        for split, loader in loaders.items()
        if splits is None or split in splits
    }
    said = []
    if model.training:
        said.append("the model was in training mode; it was attacked and read in eval mode")
    if clip == AUTO:
        clip = bounds_of(held)
        said.append(
            f"attacked inputs are kept between the lowest and the highest entry of the clean ones "
            f"({clip[0]:.4g} to {clip[1]:.4g}); pass clip for other bounds"
        )
    elif isinstance(clip, str):
        raise ValueError(f"clip={clip!r} is unknown; (low, high), None or 'auto' is needed")
    chosen = with_clip(chosen, clip)
    taps = Taps(model, head=head)
    clean = {split: seen(taps, (pair.inputs, pair.labels)) for split, pair in held.items()}
    reference = reference_of(tuple(loaders), options.get("reference"))
    first = clean.get(reference) or reference_seen(
        taps, loaders[reference], unpack, limit, batch_size
    )
    made: dict[str, Pairs] = {}
    for split, pair in held.items():
        goal = (pair.labels + 1) % first.num_classes if targeted else pair.labels
        told = _telling(options.get("progress"), split, len(goal))
        hostile = attacked(
            model, chosen, pair.inputs, goal, batch_size=batch_size, seed=seed, progress=told
        )
        twins = twins_of(
            taps, pair.inputs, hostile, pair.labels, first.vertices, points=points, walked=walked
        )
        by = {"true": pair.labels, "target": goal, "predicted": twins.predicted}
        for group in wanted:
            key = f"{split}{AT}{name}" + ("" if group == "true" else f":{group}")
            made[key] = Pairs(hostile, by[group], regrouped(twins, by[group]))
        if noise:
            size = eps or getattr(chosen, "eps", None) or largest_move(pair.inputs, hostile, norm)
            calm = Noise(size, norm, clip, seed)
            noisy = attacked(model, calm, pair.inputs, pair.labels, seed=seed)
            twins = twins_of(
                taps, pair.inputs, noisy, pair.labels, first.vertices, points=points, walked=walked
            )
            made[f"{split}{AT}{NOISE}"] = Pairs(noisy, pair.labels, twins)
    whole: dict[str, Any] = {
        split: (held[split].inputs, held[split].labels)
        if split in held
        else Unpacked(loader, unpack, batch_size)
        for split, loader in loaders.items()
    }
    whole |= {split: (pair.inputs, pair.labels) for split, pair in made.items()}
    found = measure(
        model, whole, head=head, limit=limit, batch_size=batch_size, seed=seed, **options
    )
    how = {
        "name": name,
        "targeted": targeted,
        "clip": None if clip is None else list(clip),
        "groups": list(wanted),
        "splits": list(held),
        "noise": noise,
        "points": points,
        "seed": seed,
        **_said(chosen),
    }
    return _with_leaps(found, made, how, said, options.get("keys"))


def again(m: Measurement, model: nn.Module, data: Any, **how: Any) -> Measurement:
    """`measure_attack` with the options that `m` was measured with, unless others are given; warns
    where the clean accuracy is another than it was."""
    config = m.document.config
    head = config.get("head") or {}
    names = {row.index: row.name for row in m.classes if row.layer == HEAD}
    options: dict[str, Any] = {
        key: config[key]
        for key in ("weighting", "ignore_index", "null", "intervals", "seed")
        if key in config
    }
    if config.get("definition") not in (None, "macro", "micro"):
        options["definition"] = config["definition"]
    options["layers"] = [name for name in config.get("layers", {}) if name != HEAD] or None
    if head.get("origin") == "named":
        options["head"] = head["name"]
    if sorted(names) == list(range(m.document.num_classes)):
        options["class_names"] = [names[k] for k in range(len(names))]
    found = measure_attack(model, data, **{**options, **how})
    unlike = [
        split
        for split in found.document.given_splits
        if split in m.results and _accuracy(m, split) != _accuracy(found, split)
    ]
    if not unlike:
        return found
    said = (
        f"accuracy on {unlike[0]} is {_accuracy(found, unlike[0])} and was "
        f"{_accuracy(m, unlike[0])} in the measurement that this one goes on from; is it the same "
        "model and data?"
    )
    changed = replace(found.document, warnings=(*found.warnings, said))
    return Measurement(changed, found.classes, found.geometries, found.trace)


def _accuracy(m: Measurement, split: str) -> float | None:
    reading = m.results[split].get(HEAD, {}).get("accuracy")
    return None if reading is None else reading.value


def _chosen(
    attack: str | Attack,
    eps: float | None,
    norm: str,
    steps: int,
    step_size: float | None,
    random_start: bool,
    targeted: bool,
    seed: int,
) -> Attack:
    if norm not in NORMS:
        raise ValueError(f"norm {norm!r} is unknown; one of {', '.join(NORMS)} is needed")
    if not isinstance(attack, str):
        if not callable(attack):
            raise ValueError(
                f"attack is a {type(attack).__name__}; 'pgd', or a function attack(model, inputs, "
                "labels) that returns the attacked inputs, is needed"
            )
        if eps is not None and not eps > 0:
            raise ValueError(f"eps={eps}; an attack needs a positive finite size")
        return attack
    if attack not in ("pgd", NOISE):
        raise ValueError(
            f"attack {attack!r} is unknown; 'pgd', 'noise', or a function attack(model, inputs, "
            "labels), is needed"
        )
    if eps is None:
        raise ValueError(f"the attack {attack!r} needs its size: pass eps=…, in units of inputs")
    if attack == NOISE:
        return Noise(eps, norm, None, seed)
    return PGD(eps, norm, steps, step_size, targeted, random_start, None, seed)


def _telling(progress: Any, split: str, total: int) -> Callable[[int], None] | None:
    """Who is told after each batch how far the attack on a split has come."""
    if not callable(progress):
        return None
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(f"attack on {split}", done, total)

    return step


def _name(attack: Any) -> str:
    """A word for a split: what the function or its class is called."""
    if isinstance(attack, (PGD, Noise)):
        return "pgd" if isinstance(attack, PGD) else NOISE
    name = getattr(attack, "__name__", type(attack).__name__)
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-").lower()


def _groups(groups: Sequence[str] | None, targeted: bool) -> tuple[str, ...]:
    if groups is None:
        return ("true", "target") if targeted else ("true",)
    chosen = (groups,) if isinstance(groups, str) else tuple(groups)
    for group in chosen:
        if group not in GROUPS or (group == "target" and not targeted):
            raise ValueError(
                f"group {group!r} is unknown here; true, predicted, and with targeted=True target, "
                "are there"
            )
    return tuple(dict.fromkeys(("true", *chosen)))


# ---- what is read ------------------------------------------------------------------------------
def _with_leaps(
    found: Measurement,
    made: Mapping[str, Pairs],
    how: dict[str, Any],
    said: list[str],
    keys: Any,
) -> Measurement:
    document = found.document
    results: Results = {split: dict(layers) for split, layers in document.results.items()}
    leaps: dict[str, Any] = {}
    notes = [*said]
    for split, pair in made.items():
        assert pair.twins is not None
        readings = dict(results[split][HEAD])
        for key, row in of_task("attack").items():
            if keys is not None and key not in keys:
                continue
            value = float(row.evaluate(twins=pair.twins))
            if not math.isfinite(value):
                notes.append(f"{split}: {key} is null: {row.undefined}")
            flips = "angle" not in key and key != "flip_share"
            readings[key] = Reading(
                value=value if math.isfinite(value) else None,
                ideal=row.ideal,
                n=int(pair.twins.flipped.sum()) if flips else len(pair.labels),
            )
        results[split][HEAD] = readings
        leaps[split] = {"leap": leap_plane(pair.twins), "way": way_curves(pair.twins)}
    config = {**document.config, "attack": {**how, "leaps": leaps}}
    changed = replace(
        document, results=results, config=config, warnings=(*document.warnings, *notes)
    )
    return Measurement(changed, found.classes, found.geometries, found.trace)


def _said(attack: Attack) -> dict[str, Any]:
    """What an attack was made with, where it tells."""
    if not is_dataclass(attack) or isinstance(attack, type):
        return {}
    plain = (int, float, str, bool, type(None))
    known = {key: value for key, value in asdict(attack).items() if isinstance(value, plain)}
    known.pop("seed", None)
    if isinstance(attack, PGD):
        known["step_size"] = attack.alpha
    return known
