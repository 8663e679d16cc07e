"""What `ncollapse measure --attack …` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def attack_of(attack: str, *, unfit: Sequence[str], clip: str | None, **how: Any) -> dict[str, Any]:
    """Keywords of `measure_attack`. unfit: what was asked for that no attack goes with.

    Raises ValueError for that, for bounds that are not LOW,HIGH and for functions that are not
    there.
    """
    if unfit:
        raise ValueError(
            f"--attack does not go with {unfit[0]}; it needs --model and --data with a head, and "
            "runs anew"
        )
    chosen: Any = attack
    if ":" in attack:
        from ncollapse.sources.specs.functions import load_function

        chosen = load_function(attack, "attack")
    return {"attack": chosen, "clip": _bounds(clip), **how}


def _bounds(clip: str | None) -> tuple[float, float] | str | None:
    if clip is None:
        return "auto"
    if clip == "none":
        return None
    low, comma, high = clip.partition(",")
    try:
        if not comma:
            raise ValueError
        return float(low), float(high)
    except ValueError:
        raise ValueError(f"--clip {clip!r} is not understood; write LOW,HIGH or none") from None
