"""Detectors: anchors by hand, closed form = brute force, laws, streams, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import covariance, metrics
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import nn

from ncollapse.collect.tap.preserve import evaluating
from ncollapse.downstream import ood
from ncollapse.downstream.detectors.distances import ledoit_wolf, oas
from ncollapse.downstream.detectors.residual import usual_dims

K, D = 4, 7


@pytest.fixture(scope="module")
def case():
    """Training features with labels, a head, and other features: a dead unit, an offset."""
    rng = np.random.default_rng(3)
    labels = torch.from_numpy(np.repeat(np.arange(K), [40, 25, 30, 5]))
    means = 3 * rng.standard_normal((K, D)) + 2
    features = torch.from_numpy(
        means[labels] + rng.standard_normal((100, D)) * [1, 2, 1, 0.3, 1, 1, 0]
    )
    features[:, -1] = 1.5
    other = torch.from_numpy(2 * rng.standard_normal((60, D)) + 1)
    weight = torch.from_numpy(rng.standard_normal((K, D)))
    return features, labels, weight, torch.from_numpy(rng.standard_normal(K)), other


def fit(kind, case, **more):
    features, labels, weight, bias, _ = case
    return kind(weight=weight, bias=bias, **more).fit_features(features, labels)


# ---- anchors and formulas -----------------------------------------------------------------------
AXES = torch.tensor(
    [[8, 0, 0], [-8, 0, 0], [0, 4, 0], [0, -4, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float64
)


@pytest.mark.parametrize(("dims", "expected"), [(1, 0.6), (2, 1.0), (3, 1.0)])
def test_neco_by_hand(dims: int, expected: float) -> None:
    x = torch.tensor([[3.0, 4.0, 0.0]])
    plain = ood.NECO(dims=dims, standardize=False, center=False).fit_features(AXES)
    assert float(plain.predict_features(x)) == pytest.approx(-expected, abs=1e-12)


def test_neco_without_centre_depends_on_the_offset_and_with_it_does_not() -> None:
    x = torch.tensor([[3.0, 4.0, 0.0]])
    plain = ood.NECO(dims=1, standardize=False, center=False).fit_features(AXES + 10)
    expected = -3 / (13**2 + 14**2 + 10**2) ** 0.5
    assert float(plain.predict_features(x + 10)) == pytest.approx(expected, abs=1e-12)
    centred = ood.NECO(dims=1, standardize=False).fit_features(AXES + 10)
    assert float(centred.predict_features(x + 10)) == pytest.approx(-0.6, abs=1e-12)


@pytest.mark.parametrize("dims", [1, 3, 6])
def test_neco_is_that_of_scikit_learn(case, dims: int) -> None:
    features, labels, _, _, other = case
    scaler = StandardScaler().fit(features.numpy())
    pca = PCA(svd_solver="full").fit(scaler.transform(features.numpy()))
    z = scaler.transform(other.numpy())
    expected = np.linalg.norm(pca.transform(z)[:, :dims], axis=1) / np.linalg.norm(z, axis=1)
    found = fit(ood.NECO, case, dims=dims)
    np.testing.assert_allclose(found.predict_features(other), -expected, rtol=1e-10)
    share = ood.NECO(dims=0.9).fit_features(features, labels)
    assert share.settings()["dims"] == 1 + int((pca.explained_variance_ratio_.cumsum() < 0.9).sum())
    logits = other @ case[2].T + case[3]
    times = fit(ood.NECO, case, dims=dims, times_maxlogit=True)
    expected = found.predict_features(other) * logits.amax(1)
    np.testing.assert_allclose(times.predict_features(other), expected, rtol=1e-12)


def test_nci_and_fdbd_by_hand() -> None:
    features, labels = torch.tensor([[0.0, 0.0], [2.0, 2.0]]), torch.tensor([0, 1])
    weight, x = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[4.0, 5.0]])

    def score(kind, scale=1.0, **more):
        found = kind(weight=scale * weight, **more).fit_features(features, labels)
        return -float(found.predict_features(x))

    assert score(ood.NCI) == pytest.approx(1.2, abs=1e-12)
    assert score(ood.NCI, alpha=0.1) == pytest.approx(2.1, abs=1e-12)
    assert score(ood.NCI, scale=10) == pytest.approx(12, abs=1e-12)
    assert score(ood.FDBD) == pytest.approx(3 / 5**0.5 / 5, abs=1e-12)
    assert score(ood.FDBD, scale=10) == pytest.approx(3 / 5**0.5 / 5, abs=1e-12)


def test_fdbd_leaves_out_classes_whose_rows_coincide(case) -> None:
    features, labels, weight, bias, other = case
    twice = torch.cat([weight, weight[:1]])
    both = torch.cat([bias, bias[:1]])
    found = ood.FDBD(weight=twice, bias=both).fit_features(features, labels).predict_features(other)
    first = (other @ weight.T + bias).argmax(1) == 0
    once = fit(ood.FDBD, case).predict_features(other)
    torch.testing.assert_close(found[first], once[first])
    assert bool(found.isfinite().all())


def test_scores_are_their_formulas_row_by_row(case) -> None:
    features, labels, weight, bias, other = case
    mean = features.mean(0)
    logits = other @ weight.T + bias
    k = logits.argmax(1)
    own = {
        ood.MSP: -logits.softmax(1).max(1).values,
        ood.MaxLogit: -logits.max(1).values,
        ood.Energy: -logits.exp().sum(1).log(),
        ood.FDBD: torch.stack(
            [
                -sum((z[c] - z[j]) / (weight[c] - weight[j]).norm() for j in range(K) if j != c)
                / (K - 1)
                / (h - mean).norm()
                for h, z, c in zip(other, logits, k.tolist(), strict=True)
            ]
        ),
        ood.NearestMean: torch.stack(
            [min((h - features[labels == c].mean(0)).norm() for c in range(K)) for h in other]
        ),
    }
    for kind, expected in own.items():
        torch.testing.assert_close(fit(kind, case).predict_features(other), expected)


def test_residual_and_vim(case) -> None:
    features, _, weight, bias, other = case
    u = -torch.linalg.pinv(weight) @ bias
    _, vectors = np.linalg.eigh(((features - u).T @ (features - u)).numpy())
    R = torch.from_numpy(vectors[:, :4])
    left = ((other - u) @ R).norm(dim=1)
    torch.testing.assert_close(fit(ood.Residual, case, dims=3).predict_features(other), left)
    vim = fit(ood.ViM, case, dims=3)
    alpha = (features @ weight.T + bias).amax(1).mean() / ((features - u) @ R).norm(dim=1).mean()
    expected = alpha * left - (other @ weight.T + bias).logsumexp(1)
    torch.testing.assert_close(vim.predict_features(other), expected)
    assert vim.settings()["alpha"] == pytest.approx(float(alpha))
    assert [usual_dims(width) for width in (7, 768, 2048)] == [3, 512, 1000]


@pytest.mark.parametrize("shrinkage", ["ledoit-wolf", "oas", 0.2, 1.0])
def test_mahalanobis_is_that_of_scikit_learn(case, shrinkage) -> None:
    features, labels, _, _, other = case
    means = torch.stack([features[labels == c].mean(0) for c in range(K)])
    rest = (features - means[labels]).numpy()
    reference = ood.Reference.of(features, labels)
    expected = {
        "ledoit-wolf": lambda: covariance.ledoit_wolf(rest, assume_centered=True)[1],
        "oas": lambda: covariance.oas(rest, assume_centered=True)[1],
    }.get(shrinkage, lambda: shrinkage)()
    found = ood.Mahalanobis(shrinkage=shrinkage).fit_reference(reference)
    assert found.settings()["shrinkage"] == pytest.approx(expected, rel=1e-10)
    sigma = covariance.shrunk_covariance(
        covariance.empirical_covariance(rest, assume_centered=True), expected
    )
    precision = torch.from_numpy(np.linalg.inv(sigma))
    apart = other[:, None] - means
    brute = torch.einsum("nkd,de,nke->nk", apart, precision, apart).amin(1)
    torch.testing.assert_close(found.predict_features(other), brute, rtol=1e-8, atol=1e-10)
    assert ledoit_wolf(reference) <= 1
    assert oas(torch.eye(3, dtype=torch.float64), 10) == 1.0


def test_neighbours_by_brute_force(case) -> None:
    features, labels, _, _, other = case
    unit = nn.functional.normalize
    apart = torch.cdist(unit(other), unit(features)).sort(1).values
    found = ood.KNN(k=5).fit_features(features, labels).predict_features(other)
    torch.testing.assert_close(found, apart[:, 4], rtol=1e-6, atol=1e-9)
    plain = ood.KNN(k=5, normalize=False).fit_features(features).predict_features(other)
    torch.testing.assert_close(plain, torch.cdist(other, features).sort(1).values[:, 4])
    some = ood.KNN(k=2, most=30).fit_features(features)
    assert some.notes == ["neighbours are searched among 30 of 100 samples"]
    again = ood.KNN(k=2, most=30).fit_features(features)
    assert torch.equal(some.predict_features(other), again.predict_features(other))


# ---- laws ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ood.DETECTORS, ids=lambda kind: kind.name)
def test_scores_do_not_depend_on_order_blocks_or_class_numbers(case, kind, monkeypatch) -> None:
    features, labels, weight, bias, other = case
    first = fit(kind, case).predict_features(other)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    turned = torch.tensor([2, 0, 3, 1])
    again = kind(weight=weight[turned.argsort()], bias=bias[turned.argsort()])
    monkeypatch.setattr("ncollapse.downstream.detectors.reference.ROWS", 7)
    again.fit_features(features[order], turned[labels[order]])
    torch.testing.assert_close(again.predict_features(other), first, rtol=1e-7, atol=1e-9)
    parts = [fit(kind, case).predict_features(part) for part in other.split(11)]
    torch.testing.assert_close(torch.cat(parts), first)


@pytest.mark.parametrize("kind", ood.DETECTORS, ids=lambda kind: kind.name)
def test_scores_turn_with_features(case, kind) -> None:
    """A rotation of features and head changes none but NECO by unit."""
    features, labels, weight, bias, other = case
    more = {"standardize": False} if kind is ood.NECO else {}
    turn, _ = torch.linalg.qr(
        torch.randn(D, D, generator=torch.Generator().manual_seed(1)).double()
    )
    first = fit(kind, case, **more).predict_features(other)
    again = kind(weight=weight @ turn, bias=bias, **more).fit_features(features @ turn, labels)
    torch.testing.assert_close(again.predict_features(other @ turn), first, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", ood.DETECTORS, ids=lambda kind: kind.name)
def test_a_model_and_its_features_score_alike(kind) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3))
    x = torch.randn((60, 5), generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 3
    detector = kind(model).fit((x, y))
    assert model.training
    with evaluating(model), torch.no_grad():
        features = model[:-1](x)
    head = {"weight": model[-1].weight, "bias": model[-1].bias}
    own = kind(**head).fit_features(features, y)
    torch.testing.assert_close(detector(x[:20]), own.predict_features(features[:20]))
    torch.testing.assert_close(detector.predict((x[:20], y[:20])), detector(x[:20]))
    # Samples that are marked as foreign teach nothing.
    marked = torch.cat([features, 100 + features[:10]]), torch.cat([y, -torch.ones(10).long()])
    once = kind(**head).fit_features(*marked)
    torch.testing.assert_close(
        once.predict_features(features), own.predict_features(features), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("kind", [ood.MSP, ood.MaxLogit, ood.Energy])
def test_scores_of_logits_need_no_fit(case, kind) -> None:
    _, _, weight, bias, other = case
    found = kind(weight=weight, bias=bias)
    logits = other @ weight.T + bias
    torch.testing.assert_close(found.predict_features(other), found.predict_logits(logits))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    inputs = other.float()
    expected = found.predict_logits(model(inputs))
    torch.testing.assert_close(kind(model)(inputs), expected, rtol=1e-6, atol=1e-6)


def test_collapse_to_points_leaves_distances_right() -> None:
    """Within-class spread of 1e-9 beside means 1 apart: in float64 nothing is lost."""
    rng = np.random.default_rng(0)
    labels = torch.arange(60) % 3
    noise = torch.from_numpy(rng.standard_normal((60, 5)))
    means = torch.eye(3, 5, dtype=torch.float64) + 10
    sharp = ood.Mahalanobis().fit_features(means[labels] + 1e-9 * noise, labels)
    plain = ood.Mahalanobis().fit_features(means[labels] + 1e-3 * noise, labels)
    assert sharp.settings()["shrinkage"] == pytest.approx(plain.settings()["shrinkage"], rel=1e-5)
    near, far = means[:1] + 1e-8, means[:1] + 1e-7
    low, high = sharp.predict_features(torch.cat([near, far]))
    assert float(high / low) == pytest.approx(100, rel=0.1)


# ---- what is refused ----------------------------------------------------------------------------
def test_unfitted_and_foreign_widths_are_refused(case) -> None:
    features, labels, weight, bias, other = case
    for kind in ood.DETECTORS:
        with pytest.raises(ValueError, match="not fitted; call fit"):
            kind().predict_features(other)
        with pytest.raises(ValueError, match="has no model"):
            kind(weight=weight, bias=bias).predict(other)
        with pytest.raises(ValueError, match="features are 6 wide and .* was fitted to 7"):
            fit(kind, case).predict_features(other[:, :6])
        with pytest.raises(ValueError, match="NaN or infinity, first in sample 0"):
            fit(kind, case).predict_features(other / 0)
        if kind.needs_head:
            with pytest.raises(ValueError, match="needs the classifier"):
                kind().fit_features(features, labels)
        if kind.needs_labels:
            with pytest.raises(ValueError, match="no labels were passed"):
                kind().fit_features(features)


@pytest.mark.parametrize("kind", [ood.Mahalanobis, ood.NearestMean])
def test_fewer_samples_than_classes_are_refused(kind) -> None:
    with pytest.raises(ValueError, match="2 samples of 6 classes"):
        kind().fit_features(torch.randn(2, 3, generator=torch.Generator()), torch.tensor([0, 5]))


def test_a_singular_scatter_is_shrunk_and_said_or_refused(case) -> None:
    features, labels, *_ = case
    found = ood.Mahalanobis().fit_features(features, labels)
    assert found.notes[0].startswith("Σ_W has 6 of 7 directions and no inverse: it was shrunk")
    with pytest.raises(ValueError, match="6 of 7 directions and no inverse; pass shrinkage="):
        ood.Mahalanobis(shrinkage=0.0).fit_features(features, labels)
    with pytest.raises(ValueError, match="no class has two different samples"):
        ood.Mahalanobis().fit_features(features[[0, 50, 80]], torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ood.NECO(dims=0), "dims=0; a whole number"),
        (lambda: ood.NECO(dims=2.5), "dims=2.5; a whole number"),
        (lambda: ood.NECO(dims=4).fit_features(AXES), "dims=4 of 3 features"),
        (lambda: ood.NECO().fit_features(AXES * 0 + 1), "do not vary"),
        (lambda: ood.NECO(times_maxlogit=True).fit_features(AXES), "needs the classifier"),
        (lambda: ood.Mahalanobis(shrinkage="ridge"), "shrinkage='ridge'"),
        (lambda: ood.Mahalanobis(shrinkage=1.5), "shrinkage=1.5"),
        (lambda: ood.KNN(k=0), "1 ≤ k ≤ most"),
        (lambda: ood.KNN(k=7).fit_features(AXES), "6 samples for 7 neighbours"),
        (lambda: ood.Residual(dims=3, weight=AXES[:2]).fit_features(AXES), "dims=3 of 3 features"),
        (lambda: ood.ViM(dims=2, weight=AXES[:2]).fit_features(AXES * AXES.new([1, 1, 0])), "lie in their"),
        (lambda: ood.NCI(weight=AXES[:2]).fit_features(AXES, -torch.ones(6).long()), "every label is negative"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# ---- how well scores do -------------------------------------------------------------------------
def test_metrics_with_ties_are_those_of_scikit_learn_and_of_counting() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        inside, outside = np.round(rng.normal(0, 1, 80), 1), np.round(rng.normal(1, 1, 45), 1)
        scores = np.r_[inside, outside]
        labels = np.r_[np.zeros(80), -np.ones(45)]
        found = ood.ood_metrics(scores, labels)
        pairs = (outside[:, None] > inside) + 0.5 * (outside[:, None] == inside)
        assert found["AUROC"] == pytest.approx(pairs.mean(), abs=1e-12)
        assert found["AUROC"] == pytest.approx(metrics.roc_auc_score(labels < 0, scores), abs=1e-12)
        cuts = np.unique(scores)
        caught = max(cut for cut in cuts if (outside >= cut).mean() >= 0.95)
        assert found["FPR95TPR"] == pytest.approx((inside >= caught).mean(), abs=1e-12)
        scaled = (scores - scores.min()) / np.ptp(scores)
        grid = np.linspace(0, 1, 20001)[:, None]
        errors = (scaled[:80] > grid).mean() + (scaled[80:] <= grid).mean()
        assert found["AUTC"] == pytest.approx(errors / 2, abs=1e-4)
        area, low, high = ood.auroc_interval(scores, labels)
        assert area == pytest.approx(found["AUROC"], abs=1e-12)
        boot = [
            (lambda a, b: ((b[:, None] > a) + 0.5 * (b[:, None] == a)).mean())(
                rng.choice(inside, 80), rng.choice(outside, 45)
            )
            for _ in range(400)
        ]
        assert (high - low) / 3.92 == pytest.approx(np.std(boot), rel=0.3)


def test_the_two_readings_of_fpr95() -> None:
    inside = -np.r_[np.arange(10, 100), np.full(10, -5.0)]
    outside = -np.arange(0, 10.0)
    labels = np.r_[np.zeros(100), -np.ones(10)]
    found = ood.ood_metrics(np.r_[inside, outside], labels)
    assert found["FPR95TPR"] == pytest.approx(0.1)
    assert found["FPR95TPR-IN"] == 1.0
    batches = ood.OODMetrics()
    for part in np.array_split(np.arange(110), 7):
        batches.update(np.r_[inside, outside][part], labels[part])
    assert batches.compute() == found


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, 2.0], [0, 1], "all 2 samples are in-distribution"),
        ([1.0, 2.0], [-1, -1], "label < 0"),
        ([1.0, 2.0], [0], "2 scores for 1 labels"),
        ([1.0, float("nan")], [0, -1], "score 1 is nan; finite scores are needed"),
    ],
)
def test_metrics_refuse(scores, labels, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ood.ood_metrics(np.array(scores), np.array(labels))
    with pytest.raises(ValueError, match="call update"):
        ood.OODMetrics().compute()


def test_constant_scores_have_no_autc() -> None:
    found = ood.ood_metrics(np.ones(4), np.array([0, 0, -1, -1]))
    assert np.isnan(found["AUTC"])
    assert found["AUROC"] == 0.5


# ---- NC5 ----------------------------------------------------------------------------------------
def test_nc5_is_a_mean_of_cosines() -> None:
    means = torch.tensor([[1.0, 0, 0], [0, 2.0, 0]])
    assert float(ood.nc5(means, torch.tensor([0, 0, 5.0]))) == 0
    assert float(ood.nc5(means, torch.tensor([3.0, 0, 0]))) == pytest.approx(0.5)
    centred = ood.nc5(means + 7, torch.tensor([10.0, 7, 7]), torch.full((3,), 7.0))
    assert float(centred) == pytest.approx(0.5)
    # An offset alone turns right angles into none.
    assert float(ood.nc5(means + 7, torch.tensor([7.0, 7, 12]))) > 0.9
    with pytest.raises(ValueError, match="3 wide and the foreign mean 2"):
        ood.nc5(means, torch.ones(2))
