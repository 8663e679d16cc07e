"""Runs of the deep-ufm study: thresholds, the table of low rank, random starts, linear lengths."""

from __future__ import annotations

from ncollapse.lab.deep import best_of_two, linear_lengths, low_rank_ratios, random_start, relu
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.theory.deep import dnc_value, k2_threshold


def threshold(settings: Plan, seed: int) -> Outcome:
    """Two classes just below and just above the threshold: the best of many starts against zero."""
    count, rows = settings["count"], []
    for depth in settings["depths"]:
        row = []
        for factor in settings["factors"]:
            decay = (factor * k2_threshold(depth) / count) ** (1 / (depth + 1))
            problem = relu(2, depth, decay, count)
            row += [best_of_two(problem, settings["starts"], settings["steps"]), dnc_value(problem)]
        rows.append([depth, *row])
    values = {
        "deep-ufm-below": min(0.5 - row[1] for row in rows),
        "deep-ufm-formula": max(abs(row[1] - row[2]) for row in rows),
        "deep-ufm-above": max(0.5 - row[3] for row in rows),
    }
    return outcome(values, rows=rows)


def table(settings: Plan, seed: int) -> Outcome:
    """Loss of the low-rank construction, as it is and after a descent, over deep collapse's."""
    decay, steps = settings["decay"], settings["steps"]
    cells = [(int(depth), K) for depth, sizes in settings["table"].items() for K in sizes]
    rows = [(M, K, *low_rank_ratios(relu(K, M, decay / K), steps)) for M, K in cells]
    better = [K for M, K, _, ratio in rows if M == 3 and ratio < 1 - 1e-6]
    values = {
        "deep-ufm-depth-2": min(row[3] for row in rows if row[0] == 2),
        "deep-ufm-depth-3": min(better, default=1e6),  # never
        "deep-ufm-depth-4": max(row[3] for row in rows if row[0] >= 4 and row[1] >= 6),
    }
    return outcome(values, rows=rows)


def random(settings: Plan, seed: int) -> Outcome:
    """One random start at depth 4, where low rank is better, and one at depth 3."""
    classes, width, steps = settings["random"]
    names = "deep", "shallow"
    deep, shallow = (
        random_start(relu(classes, *settings[name]), width, steps, seed) for name in names
    )
    values = {
        "deep-ufm-random": deep["ratio"],
        "deep-ufm-random-rank": min(deep["ranks"]),
        "deep-ufm-random-shallow": shallow["ratio"],
    }
    return outcome(values, deep=deep, shallow=shallow)


def lengths(settings: Plan, seed: int) -> Outcome:
    """Deep linear features under unequal counts: the best descent against the formula."""
    counts, decay = settings["counts"], settings["linear_decay"]
    rows = [linear_lengths(counts, M, decay, settings["starts"]) for M in settings["matrices"]]
    values = {
        "deep-ufm-lengths": max(row["apart"] for row in rows),
        "deep-ufm-lengths-best": max(row["below"] for row in rows),
    }
    return outcome(values, counts=counts, rows=rows)
