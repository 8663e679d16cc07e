"""Every metric from its formula, plainly, in float64 and two passes; independent of the library.

K × K matrices and loops over pairs are fine here. Absent classes must not occur in the labels
(tests relabel them away), except for the head's extra rows that `oracle` drops itself.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def class_parts(features: Array, labels: Array) -> tuple[Array, Array, Array, list[Array]]:
    """Present classes, counts, means, and centred samples of each class, all two-pass."""
    exact = features.astype(np.longdouble)
    present = np.unique(labels)
    groups = [exact[labels == c] for c in present]
    means = np.stack([group.mean(0) for group in groups])
    centred = [group - mean for group, mean in zip(groups, means, strict=True)]
    counts = np.array([len(group) for group in groups])
    return present, counts, means.astype(np.float64), [c.astype(np.float64) for c in centred]


def within(centred: list[Array], counts: Array, weighting: str) -> Array:
    """Σ_W: classes alike (macro) or samples alike (micro)."""
    total = sum(counts)
    weights = [1 / (len(counts) * n) if weighting == "macro" else 1 / total for n in counts]
    return sum(w * c.T @ c for w, c in zip(weights, centred, strict=True))


def between_rows(means: Array, counts: Array, weights: str, centre: str) -> Array:
    """Rows √p_c (μ_c - centre)."""
    share = {"macro": np.full(len(counts), 1 / len(counts)), "micro": counts / counts.sum()}
    middle = share[centre] @ means
    return (means - middle) * np.sqrt(share[weights])[:, None]


def trace_pinv(scatter: Array, rows: Array, rank: int) -> float:
    _, values, axes = np.linalg.svd(rows, full_matrices=False)
    axes, values = axes[:rank], values[:rank]
    return float(sum(a @ scatter @ a / v**2 for a, v in zip(axes, values, strict=True)))


def collapse_index(scatter: Array, rows: Array, rank: int) -> float:
    """1 - tr(Σ_T⁺Σ_B)/r through the Schur complement, right also where Σ_W is tiny."""
    _, values, axes = np.linalg.svd(rows, full_matrices=True)
    inside, outside = axes[:rank].T, axes[rank:].T
    part = inside.T @ scatter @ inside
    if outside.shape[1]:
        cross = outside.T @ scatter @ inside
        part = (
            part - cross.T @ np.linalg.pinv(outside.T @ scatter @ outside, hermitian=True) @ cross
        )
    return float(np.trace(np.linalg.solve(np.diag(values[:rank] ** 2) + part, part)) / rank)


def cosines(rows: Array) -> Array:
    """Cosines of all pairs i < j."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(rows), 1)]


def frame_gap(gram: Array, simplex: bool) -> float:
    count = len(gram)
    target = np.eye(count) / np.sqrt(count)
    if simplex:
        target = (np.eye(count) - 1 / count) / np.sqrt(count - 1)
    return float(np.linalg.norm(gram / np.linalg.norm(gram) - target))


def fisher(parts: tuple, weight_within: str, weights: str, centre: str) -> float:
    _, counts, means, centred = parts
    rank = min(means.shape[1], len(counts) - 1)
    rows = between_rows(means, counts, weights, centre)
    return trace_pinv(within(centred, counts, weight_within), rows, rank)


def spread_over_distance(parts: tuple, exponent: int = 1) -> float:
    _, counts, means, centred = parts
    spread = [float((c**2).sum() / n) for c, n in zip(centred, counts, strict=True)]
    values = []
    for i in range(len(counts)):
        for j in range(i + 1, len(counts)):
            distance = float(((means[i] - means[j]) ** 2).sum())
            values.append((spread[i] + spread[j]) / (2 * distance**exponent))
    return float(np.mean(values))


def effective_rank(rows: Array) -> float:
    """exp of the entropy of the shares of variance along the principal directions."""
    share = np.linalg.svd(rows, compute_uv=False) ** 2
    share = share[share > share[0] * 1e-15] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def oracle(
    features: Array,
    labels: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    weighting: str = "macro",
) -> dict[str, float]:
    """Every key of the catalog."""
    parts = class_parts(features, labels)
    present, counts, means, centred = parts
    count, dim = means.shape
    rank = min(dim, count - 1)
    scatter = within(centred, counts, weighting)
    rows = between_rows(means, counts, weighting, weighting)
    ratio = np.trace(scatter) / (rows**2).sum()
    inside = sum((c**2).sum() for c in centred)
    micro = between_rows(means, counts, "micro", "micro")
    total = inside + counts.sum() * (micro**2).sum()
    samples = counts.sum()
    M = means - means.mean(0)
    angles = cosines(M)
    found = {
        "class_share": 1 - (samples - 1) / (samples - count) * inside / total,
        "nc1_fisher": fisher(parts, weighting, weighting, weighting) / count,
        "nc1_ratio": ratio,
        "nc1_cdnv": spread_over_distance(parts),
        "nc1_vci": collapse_index(scatter, rows, rank),
        "fisher_ratio": 1 / ratio,
        "nc2_angle_ratio": np.abs(angles + 1 / (count - 1)).mean() / np.sqrt(2 / (np.pi * dim)),
    }
    head = None if weight is None else weight[present].astype(np.float64)
    for side, centred_rows, raw in (("means", M, means), ("weights", head, head)):
        if raw is None:
            continue
        norms = np.linalg.norm(centred_rows, axis=1)
        pairs = cosines(centred_rows)
        gram_rows = raw - raw.mean(0)
        found |= {
            f"nc2_equinorm_{side}": norms.std(ddof=1) / norms.mean(),
            f"nc2_equiangular_{side}": pairs.std(),
            f"nc2_maxangle_{side}": np.abs(pairs + 1 / (count - 1)).mean(),
            f"nc2_etf_{side}": frame_gap(gram_rows @ gram_rows.T, True),
            f"nc2_orthogonal_{side}": frame_gap(raw @ raw.T, False),
            f"nc2_gof_{side}": np.abs(cosines(raw)).mean(),
            f"nc2_rank_{side}": effective_rank(gram_rows) / (count - 1),
        }
    if head is not None:
        unit = head / np.linalg.norm(head)
        cos = (head * M).sum(1) / np.linalg.norm(head, axis=1) / np.linalg.norm(M, axis=1)
        found |= {
            "nc3_duality": np.linalg.norm(unit - M / np.linalg.norm(M)),
            "nc3_duality_raw": np.linalg.norm(unit - means / np.linalg.norm(means)),
            "nc3_alignment": cos.mean(),
            "nc3_product": frame_gap(head @ M.T, True),
        }
    found |= decisions(features, labels, means, present, weight, bias)
    return {key: float(value) for key, value in found.items()}


def decisions(
    features: Array,
    labels: Array,
    means: Array,
    present: Array,
    weight: Array | None,
    bias: Array | None,
) -> dict[str, float]:
    exact = features.astype(np.float64)
    nearest = present[np.array([((row - means) ** 2).sum(1).argmin() for row in exact], dtype=int)]
    found = {"ncc_accuracy": float((nearest == labels).mean())}
    if weight is None:
        return found
    logits = exact @ weight.T.astype(np.float64)
    if bias is not None:
        logits = logits + bias
    decided = logits.argmax(1)
    own = logits[np.arange(len(labels)), labels]
    rest = logits.copy()
    rest[np.arange(len(labels)), labels] = -np.inf
    margins = own - rest.max(1)
    return found | {
        "accuracy": float((decided == labels).mean()),
        "nc4_mismatch": float((decided != nearest).mean()),
        "margin_min": float(margins.min()),
        "margin_mean": float(margins.mean()),
    }


def published(features: Array, labels: Array, weight: Array) -> dict[tuple[str, str], float]:
    """Named variants of papers: (key, definition) → value."""
    parts = class_parts(features, labels)
    _, counts, means, _ = parts
    count = len(counts)
    M = means - means.mean(0)
    head = weight[parts[0]].astype(np.float64)
    centred = head - head.mean(0)
    gap = np.linalg.norm(head / np.linalg.norm(head) - M / np.linalg.norm(M))
    norms = np.linalg.norm(M, axis=1)
    rank = min(means.shape[1], count - 1)
    return {
        ("nc1_fisher", "papyan2020"): fisher(parts, "micro", "macro", "macro") / count,
        ("nc1_fisher", "papyan2020_notebook"): fisher(parts, "micro", "macro", "macro"),
        ("nc1_fisher", "zhu2021"): fisher(parts, "micro", "macro", "micro") / count,
        ("nc1_fisher", "rank"): fisher(parts, "macro", "macro", "macro") / rank,
        ("nc1_cdnv", "galanti2022"): spread_over_distance(parts),
        ("nc1_cdnv", "wu2024"): spread_over_distance(parts, 2),
        ("nc2_etf_weights", "zhu2021"): frame_gap(head @ head.T, True),
        ("nc2_etf_weights", "zhou2022"): frame_gap(centred @ centred.T, True),
        ("nc3_duality", "papyan2020_notebook"): float(gap**2),
        ("nc3_product", "zhu2021"): frame_gap(head @ M.T, True),
        ("nc3_product", "zhou2022"): frame_gap(centred @ M.T, True),
        ("nc2_equinorm_means", "population"): float(norms.std() / norms.mean()),
    }
