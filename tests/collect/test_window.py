"""A window over batches: unbiased at every batch size, blind to drift and to how axes lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ncollapse.collect.ranks.sync import all_merge
from ncollapse.collect.statistics.unbiased import (
    NoisyMeans,
    UnresolvedError,
    cdnv,
    directions,
    fisher,
    unbiased_square,
    vci,
)
from ncollapse.collect.statistics.window import BatchMoments, Window
from tests.ranks import spawn

K, D = 6, 12
CENTRES = np.random.default_rng(9).standard_normal((K, D))
CENTRES -= CENTRES.mean(0)
CENTRES /= np.sqrt((CENTRES**2).sum() / K)
# Not isotropic: noise lies along some axes more than along others.
SCALES = np.linspace(0.5, 1.5, D)
SCALES /= np.sqrt((SCALES**2).sum())
READ = {"nc1_cdnv": cdnv, "nc1_fisher": fisher, "nc1_vci": vci}
KEYS = ("nc1_ratio", "class_share", *READ)


def drawn(rng, labels, ratio):
    """tr Σ_B = 1 and tr Σ_W = ratio."""
    noise = rng.standard_normal((len(labels), D)) * SCALES * math.sqrt(ratio)
    return torch.from_numpy(CENTRES[labels] + noise), torch.from_numpy(labels)


def truth(key, ratio):
    scatter = np.diag(SCALES**2 * ratio)
    between = CENTRES.T @ CENTRES / K
    gaps = ((CENTRES[:, None] - CENTRES) ** 2).sum(2)[np.triu_indices(K, 1)]
    root = np.diag(1 / (SCALES * math.sqrt(ratio)))
    apart = np.linalg.eigvalsh(root @ between @ root)[-(K - 1) :]
    return {
        "nc1_ratio": ratio,
        "class_share": 1 / (1 + ratio),
        "nc1_cdnv": (ratio / gaps).mean(),
        "nc1_fisher": np.trace(scatter @ np.linalg.pinv(between)) / K,
        "nc1_vci": (1 / (1 + apart)).mean(),
    }[key]


def read(window, key):
    if key in READ:
        return READ[key](window.noisy_means(key))
    return window.ratio() if key == "nc1_ratio" else window.class_share()


def filled(batches, fade=1.0, parts="full", columns=D):
    window = Window(K, columns, parts=parts)
    for features, labels in batches:
        window.add(window.batch(features, labels), fade)
    return window


def labels_of(rng, size, how):
    if how == "random":
        return rng.integers(0, K, size)
    if how == "balanced":
        return rng.permutation(K)[np.arange(size) % K]
    # Each batch lacks a class or two.
    return rng.choice(np.setdiff1d(np.arange(K), rng.integers(0, K, 2)), size)


# ---- unbiased ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("size", "number"), [(8, 160), (16, 80), (32, 50), (64, 30), (128, 16), (512, 6)]
)
@pytest.mark.parametrize("how", ["random", "missing", "balanced"])
def test_windows_read_the_population_at_every_batch_size(how, size, number) -> None:
    rng, ratio = np.random.default_rng(size), 0.5
    window = filled([drawn(rng, labels_of(rng, size, how), ratio) for _ in range(number)])
    for key in KEYS:
        wanted = truth(key, ratio)
        if key in READ:
            assert read(window, key) == pytest.approx(wanted, rel=0.12), key
        elif how != "missing":
            # Labels that are dealt, not drawn, make tr Σ_B read high by N/(N - 1).
            high = size / (size - 1) if how == "balanced" else 1.0
            low = {"nc1_ratio": ratio / high, "class_share": high / (high + ratio)}
            assert read(window, key) == pytest.approx(low[key], rel=0.08), key


@pytest.mark.parametrize(("size", "times"), [(8, 200), (64, 60)])
def test_mean_squares_of_one_batch_are_right_in_expectation(size, times) -> None:
    rng, ratio, found = np.random.default_rng(size), 5.0, []
    for _ in range(times):
        batch = drawn(rng, labels_of(rng, size, "random"), ratio)
        found.append(filled([batch], 0.0, "shares")._mean_squares("nc1_ratio"))
    within, total = np.array(found).T
    for values, wanted in ((within, ratio), (total - within, 1.0)):
        assert abs(values.mean() - wanted) < 4 * values.std() / math.sqrt(times)


def test_the_plain_mean_of_ratios_would_not_do() -> None:
    rng = np.random.default_rng(0)
    window, plain = Window(K, D, parts="shares"), []
    for _ in range(150):
        features, labels = drawn(rng, labels_of(rng, 16, "random"), 5.0)
        window.add(window.batch(features, labels), 1.0)
        one = filled([(features, labels)], 0.0, "shares")
        within, total = (one.sums["squares"].sum(), one.sums["total"][0])
        plain.append(float(within / (total - within)))
    assert window.ratio() == pytest.approx(5.0, rel=0.2)
    assert np.mean(plain) < 2.5


def test_classes_of_unequal_spread_and_number_are_debiased_each_for_itself() -> None:
    rng = np.random.default_rng(0)
    spread, share = np.linspace(0.3, 1.5, K), np.linspace(1, 3, K) / np.linspace(1, 3, K).sum()
    gaps = ((CENTRES[:, None] - CENTRES) ** 2).sum(2)
    pairs = (spread[:, None] ** 2 + spread**2) / 2
    upper = np.triu_indices(K, 1)
    found = []
    for _ in range(25):
        labels = rng.choice(K, 200, p=share)
        noise = rng.standard_normal((200, D)) * SCALES * spread[labels][:, None]
        batch = torch.from_numpy(CENTRES[labels] + noise), torch.from_numpy(labels)
        found.append(cdnv(filled([batch]).noisy_means("nc1_cdnv")))
    wanted = (pairs / gaps)[upper].mean()
    assert np.mean(found) == pytest.approx(wanted, rel=0.05)


def test_trace_of_the_square_is_unbiased() -> None:
    rng = np.random.default_rng(1)
    full, paired = [], []
    for _ in range(80):
        batch = drawn(rng, labels_of(rng, 16, "random"), 1.0)
        one = filled([batch], 0.0)
        full.append(unbiased_square(one._within(), one.freedom))
        paired.append(filled([batch], 0.0, "shares")._square())
    # Inner products say what the scatter says.
    np.testing.assert_allclose(paired, full, rtol=1e-9)
    wanted = (SCALES**4).sum()
    assert abs(np.mean(full) - wanted) < 4 * np.std(full) / math.sqrt(len(full))
    assert directions(1.0, wanted) == pytest.approx(1 / wanted)
    assert directions(1.0, None) == directions(1.0, -1.0) == 1.0
    assert unbiased_square(torch.eye(3), 1.0) is None


# ---- what must not matter ----------------------------------------------------------------------
def some_batches(seed=0, sizes=(40, 25, 60), ratio=0.2):
    rng = np.random.default_rng(seed)
    return [drawn(rng, labels_of(rng, size, "random"), ratio) for size in sizes]


@pytest.mark.parametrize("key", KEYS)
def test_scale_turn_shift_and_zero_columns_change_nothing(key) -> None:
    batches = some_batches()
    wanted = read(filled(batches, 0.5), key)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(2).standard_normal((D, D)))[0])
    for change in (
        lambda x: 1e-3 * x,
        lambda x: x @ turn,
        lambda x: x + 100,
        lambda x: torch.cat([x, torch.zeros(len(x), 5, dtype=x.dtype)], 1),
    ):
        changed = [(change(x), y) for x, y in batches]
        window = filled(changed, 0.5, columns=changed[0][0].shape[1])
        assert read(window, key) == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize("key", KEYS)
def test_drift_from_batch_to_batch_adds_nothing(key) -> None:
    batches = some_batches()
    drifting = [(x + 50.0 * number, y) for number, (x, y) in enumerate(batches)]
    assert read(filled(drifting), key) == pytest.approx(read(filled(batches), key), rel=1e-8)


@pytest.mark.parametrize("key", KEYS)
def test_the_names_of_classes_and_the_order_of_samples_do_not_matter(key) -> None:
    batches = some_batches()
    other = torch.from_numpy(np.random.default_rng(3).permutation(K))
    changed = [(x.flip(0), other[y].flip(0)) for x, y in batches]
    assert read(filled(changed), key) == pytest.approx(read(filled(batches), key), rel=1e-9)


@pytest.mark.parametrize("key", KEYS)
def test_it_is_right_near_collapse(key) -> None:
    batches = some_batches(ratio=1e-12)
    found, wanted = read(filled(batches), key), truth(key, 1e-12)
    if key == "class_share":
        assert found == pytest.approx(1.0, abs=1e-11)
    else:
        assert found / wanted == pytest.approx(1, rel=0.3)


def test_fading_halves_and_zero_forgets() -> None:
    first, last = some_batches()[:2]
    assert read(filled([first, last], 0.0), "nc1_cdnv") == read(filled([last]), "nc1_cdnv")
    half = filled([first, last], 0.5)
    own, other = filled([first]), filled([last])
    for name in ("squares", "free", "total", "paired", "design", "values", "products"):
        wanted = 0.5 * own.sums[name] + other.sums[name]
        torch.testing.assert_close(half.sums[name], wanted, rtol=1e-12, atol=1e-12)
    free = [float(one.sums["free"].sum()) for one in (own, other)]
    assert half.freedom == pytest.approx(
        (free[0] / 2 + free[1]) ** 2 / (free[0] / 4 + free[1]), rel=1e-12
    )


def test_classes_that_never_meet_are_compared_through_others() -> None:
    rng = np.random.default_rng(5)
    groups = ([0, 1, 2, 3], [2, 3, 4, 5])
    batches = [drawn(rng, rng.choice(group, 64), 0.05) for group in groups * 6]
    batches = [(x + 7.0 * number, y) for number, (x, y) in enumerate(batches)]
    assert read(filled(batches), "nc1_cdnv") == pytest.approx(truth("nc1_cdnv", 0.05), rel=0.1)
    apart = [drawn(rng, rng.choice(group, 64), 0.05) for group in ([0, 1, 2], [3, 4, 5])]
    with pytest.raises(UnresolvedError, match="never share a batch"):
        filled(apart).noisy_means("nc1_cdnv")


# ---- what cannot be said -----------------------------------------------------------------------
@pytest.mark.parametrize("key", ["nc1_ratio", *READ])
def test_batches_below_the_smallest_are_refused_in_a_sentence(key) -> None:
    rng = np.random.default_rng(0)
    window = filled([drawn(rng, np.arange(K).repeat(2), 30.0)])
    with pytest.raises(UnresolvedError, match=f"{key} cannot be read from.*need"):
        read(window, key)


def test_the_smallest_sample_is_known() -> None:
    rng, size = np.random.default_rng(0), 4 * D + K
    enough = filled([drawn(rng, rng.permutation(np.arange(size) % K), 0.1)])
    assert enough.freedom == 4 * D
    assert 0 < read(enough, "nc1_vci") < 1
    less = filled([drawn(rng, rng.permutation(np.arange(size - 1) % K), 0.1)])
    with pytest.raises(UnresolvedError, match=f"from {4 * D - 1} samples.*so {4 * D} are needed"):
        read(less, "nc1_vci")


def test_labels_that_mean_nothing_are_not_read_as_a_ratio() -> None:
    rng, shares, said = np.random.default_rng(0), [], []
    for _ in range(50):
        features = torch.from_numpy(rng.standard_normal((48, D)))
        window = filled([(features, torch.from_numpy(rng.integers(0, K, 48)))], 0.0, "shares")
        shares.append(window.class_share())
        said.append(refusal(window))
    assert abs(np.mean(shares)) < 4 * np.std(shares) / math.sqrt(50)
    assert sum("samples are needed" in text for text in said) >= 49


def refusal(window: Window) -> str:
    try:
        window.ratio()
    except UnresolvedError as error:
        return str(error)
    return ""


def test_nothing_to_compare_is_said() -> None:
    rng = np.random.default_rng(0)
    for labels in (np.zeros(20, dtype=int), np.arange(K)):
        window = filled([drawn(rng, labels, 0.1)])
        with pytest.raises(UnresolvedError):
            window.ratio()
        with pytest.raises(UnresolvedError):
            window.noisy_means("nc1_cdnv")
    with pytest.raises(UnresolvedError, match="two samples of one class"):
        Window(K, D).class_share()
    some = filled([drawn(rng, np.arange(120) % K, 0.1)])
    some.add(some.batch(*drawn(rng, np.arange(120) % 4, 0.1)), 1e-6)
    with pytest.raises(UnresolvedError, match="from 4 classes of 6"):
        some.noisy_means("nc1_fisher")


def test_bad_samples_weigh_nothing_and_are_counted() -> None:
    batches = some_batches(sizes=(80,))
    (features, labels), clean = batches[0], filled(batches)
    bad = torch.full((3, D), math.nan, dtype=torch.float64)
    extra = torch.cat([features, bad]), torch.cat([labels, torch.tensor([0, 1, K])])
    dirty = filled([extra])
    assert dirty.rejected == (1, 2)
    assert read(dirty, "nc1_fisher") == pytest.approx(read(clean, "nc1_fisher"), rel=1e-12)
    shares = filled([extra], parts="shares")
    assert shares.ratio() == pytest.approx(clean.ratio(), rel=1e-12)


def test_many_classes_are_read_by_some_of_them() -> None:
    number = 2100
    means = torch.randn(number, 8, generator=torch.Generator().manual_seed(0)).double()
    spreads = torch.full((number,), 1e-6).double()
    shares = torch.full((number,), 1 / number).double()
    noisy = NoisyMeans(means, spreads / 100, spreads, shares, 1e5)
    some = noisy.some()
    assert some.num_classes == 2048
    assert cdnv(noisy) == cdnv(some) > 0


# ---- saving and merging ------------------------------------------------------------------------
def test_state_is_saved_and_another_windows_is_refused() -> None:
    first = filled(some_batches()[:2], 0.7)
    second = Window(K, D)
    second.load_state_dict(first.state_dict())
    for one in (first, second):
        one.add(one.batch(*some_batches()[2]), 0.7)
    for key in KEYS:
        assert read(first, key) == read(second, key)
    with pytest.raises(ValueError, match="build both with the same arguments"):
        Window(K, D, parts="means").load_state_dict(first.state_dict())


def merged(rank: int) -> list[float]:
    window = Window(K, D)
    for features, labels in some_batches():
        # Uneven: rank 1 has a third, of the last classes first.
        order = labels.argsort(descending=True)
        cut = len(order) // 3
        mine = order[cut:] if rank == 0 else order[:cut]
        window.add(all_merge(window.batch(features[mine], labels[mine])), 0.8)
    return [read(window, key) for key in KEYS]


def test_ranks_together_read_what_one_process_reads() -> None:
    wanted = [read(filled(some_batches(), 0.8), key) for key in KEYS]
    first, second = spawn(merged, 2)
    assert first == second
    assert first == pytest.approx(wanted, rel=1e-12)


def test_the_scatter_of_traces_is_merged_as_what_ranks_find() -> None:
    parts = [some_batches()[0], some_batches()[2]]
    batches = []
    for features, labels in parts:
        batches.append(BatchMoments(K, D, mode="trace"))
        batches[-1].update(features, labels)
    sums = sum(one._paired for one in batches)
    assert torch.allclose(batches[0].merge(batches[1])._paired, sums)
