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


def singular_rank(rows: Array) -> float:
    """exp of the entropy of the singular values, each over their sum."""
    sizes = np.linalg.svd(rows, compute_uv=False)
    share = sizes[sizes > sizes[0] * 1e-9] / sizes.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def ranks(rows: Array) -> dict[str, float]:
    """How many directions carry the rows, over as many as a simplex of them fills."""
    sizes = np.linalg.svd(rows, compute_uv=False) ** 2
    return {
        "rank": effective_rank(rows) / (len(rows) - 1),
        "participation": sizes.sum() ** 2 / (sizes**2).sum() / (len(rows) - 1),
        "stable_rank": sizes.sum() / sizes.max() / (len(rows) - 1),
    }


def balance(head: Array, M: Array) -> float:
    """Distance of the covariances of the head's rows and of class means, each of length one."""
    W = head - head.mean(0)
    W, M = W.T @ W, M.T @ M
    return float(np.linalg.norm(W / np.linalg.norm(W) - M / np.linalg.norm(M)))


def head_share(scatter: Array, means: Array, head: Array) -> float | None:
    """Of tr S the part in the span of the head's rows, less their mean and less what lies where no
    feature varies."""
    if not np.trace(scatter) > 0:
        return None
    M = means - means.mean(0)
    axes = []
    for part, cut in ((scatter, 1e-12), (M.T @ M / np.sum(M**2), 1e-10)):
        values, vectors = np.linalg.eigh(part)
        axes.append(vectors[:, values > values[-1] * cut])
    basis, sizes, _ = np.linalg.svd(np.hstack(axes), full_matrices=False)
    basis = basis[:, sizes > 1e-6]
    _, sizes, rows = np.linalg.svd((head - head.mean(0)) @ basis, full_matrices=False)
    rows = rows[sizes > sizes[0] * 1e-10]
    if len(rows) == basis.shape[1]:
        return None
    seen = rows @ basis.T
    return float(np.trace(seen @ scatter @ seen.T) / np.trace(scatter))


def alignment(M: Array, weight: Array) -> float:
    """Mean cos² between the span of M and the top right singular subspace of the weight."""
    rank = len(M) - 1
    U = np.linalg.svd(M, full_matrices=False)[2][:rank]
    V = np.linalg.svd(weight, full_matrices=False)[2][:rank]
    return float(((U @ V.T) ** 2).sum() / rank)


def oracle(
    features: Array,
    labels: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    weighting: str = "macro",
) -> dict[str, float | None]:
    """Every key of the catalog; None where a number would be set by construction."""
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
        "worst_share": worst_share(parts),
        "nc2_angle_ratio": np.abs(angles + 1 / (count - 1)).mean()
        / np.sqrt(2 / (np.pi * effective_dimension(features, labels, weighting))),
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
        }
        found |= {f"nc2_{name}_{side}": value for name, value in ranks(gram_rows).items()}
        if count > 2:
            found |= codes(centred_rows, side)
    if head is not None:
        unit = head / np.linalg.norm(head)
        cos = (head * M).sum(1) / np.linalg.norm(head, axis=1) / np.linalg.norm(M, axis=1)
        found |= {
            "nc3_duality": np.linalg.norm(unit - M / np.linalg.norm(M)),
            "nc3_duality_raw": np.linalg.norm(unit - means / np.linalg.norm(means)),
            "nc3_duality_centred": np.linalg.norm(
                (head - head.mean(0)) / np.linalg.norm(head - head.mean(0)) - M / np.linalg.norm(M)
            ),
            "nc0": (head.sum(0) ** 2).sum() / count / (head**2).sum(),
            "nc3_alignment": cos.mean(),
            "nc3_product": frame_gap(head @ M.T, True),
            "nc3_balance": balance(head, M),
            "span_alignment": alignment(M, head),
        }
    if head is not None:
        found["head_share"] = head_share(scatter, means, head)
    found["raw_cosine"] = np.abs(cosines(means)).max()
    found |= directional(features, labels, present)
    found |= decisions(features, labels, parts, weight, bias)
    known: dict[str, float | None] = {
        key: None if value is None else float(value) for key, value in found.items()
    }
    if count == 2:
        for side in ("means", "weights") if head is not None else ("means",):
            names = ("margin", "cosine", "uniformity", "frame")
            known |= {f"gnc_{name}_{side}": None for name in names}
        always = (
            "equinorm_means",
            "equiangular_means",
            "maxangle_means",
            "etf_means",
        )
        always += ("equiangular_weights", "etf_weights", "angle_ratio")
        always += tuple(
            f"{name}_{side}"
            for name in ("rank", "participation", "stable_rank")
            for side in ("means", "weights")
        )
        known |= {f"nc2_{key}": None for key in always if f"nc2_{key}" in known}
    if head is not None and count > dim:
        known["span_alignment"] = None
    free = int(samples) - count
    if 0 < free <= np.linalg.matrix_rank(scatter, hermitian=True, tol=1e-9 * np.trace(scatter)):
        known["nc1_vci"] = None
    return known


def codes(rows: Array, side: str) -> dict[str, float]:
    """Generalised collapse, each number by its definition; the hull by a general solver."""
    from scipy.optimize import minimize

    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    count, d = len(unit), np.linalg.matrix_rank(rows)
    gram = unit @ unit.T
    i, j = np.triu_indices(count, 1)
    margins = []
    for k in range(count):
        apart = np.delete(unit, k, axis=0) - unit[k]
        inner = apart @ apart.T
        best = minimize(
            lambda x, inner=inner: x @ inner @ x,
            np.full(count - 1, 1 / (count - 1)),
            jac=lambda x, inner=inner: 2 * inner @ x,
            bounds=[(0, 1)] * (count - 1),
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-16, "maxiter": 500},
        )
        margins.append(np.sqrt(max(best.fun, 0)))
    return {
        f"gnc_margin_{side}": float(min(margins)),
        f"gnc_cosine_{side}": gram[i, j].max(),
        f"gnc_uniformity_{side}": -np.log(np.linalg.norm(unit[i] - unit[j], axis=1)).mean(),
        f"gnc_frame_{side}": d / count**2 * (gram**2).sum() - 1,
    }


def directional(features: Array, labels: Array, present: Array) -> dict[str, float]:
    """1 - R and std/mean of lengths, in extended precision, averaged over classes."""
    spreads, ratios = [], []
    for k in present:
        rows = features[labels == k].astype(np.longdouble)
        lengths = np.sqrt((rows**2).sum(1))
        units = rows / lengths[:, None]
        spreads.append(1 - np.sqrt((units.mean(0) ** 2).sum()))
        ratios.append(lengths.std() / lengths.mean())
    return {"dir_spread": float(np.mean(spreads)), "norm_cv": float(np.mean(ratios))}


def worst_share(parts: tuple) -> float:
    _, counts, means, centred = parts
    spread = [float((c**2).sum() / n) for c, n in zip(centred, counts, strict=True)]
    shares = []
    for i in range(len(counts)):
        for j in range(i + 1, len(counts)):
            distance = float(((means[i] - means[j]) ** 2).sum())
            shares.append(distance / (distance + spread[i] + spread[j]))
    return min(shares)


def effective_dimension(features: Array, labels: Array, weighting: str) -> float:
    """(tr S)²/tr S² of the covariance of all features, each sample with the weight of its class:
    micro wherever the class scatters were kept, which is where these tests are."""
    exact = features.astype(np.float64)
    total = np.cov(exact.T, bias=True)
    return float(np.trace(total) ** 2 / (total**2).sum())


def decisions(
    features: Array,
    labels: Array,
    parts: tuple,
    weight: Array | None,
    bias: Array | None,
    mine: bool = True,
) -> dict[str, float]:
    """Nearest centres by fair distances: own means without the sample, where it is among
    those of `parts`, and no noise of the means."""
    present, counts, means, centred = parts
    exact = features.astype(np.float64)
    free = max(counts.sum() - len(counts), 1)
    pooled = sum((c**2).sum() for c in centred) / free
    spread = np.array(
        [(c**2).sum() / (n - 1) if n > 1 else pooled for c, n in zip(centred, counts, strict=True)]
    )
    place = {int(k): i for i, k in enumerate(present)}
    nearest = []
    for row, label in zip(exact, labels, strict=True):
        square = ((row - means) ** 2).sum(1)
        own, fair = place[int(label)], square - spread / counts
        others = max(counts[own] - 1, 1)
        gain = (counts[own] / others) ** 2 if counts[own] > 1 else 1.0
        if mine:
            fair[own] = gain * square[own] - spread[own] / others
        nearest.append(present[fair.argmin()])
    nearest = np.array(nearest, dtype=int)
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
        ("nc2_rank_means", "roy2007"): singular_rank(M) / (count - 1),
    }
