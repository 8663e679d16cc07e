"""CollapseCallback under the real Keras 3 on torch: history, values, kinds of labels."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import ncollapse as nc

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from ncollapse.tracking.keras import CollapseCallback, last_kernel  # noqa: E402

K, D = 4, 8


def digits(samples: int, seed: int):
    generator = np.random.default_rng(seed)
    labels = np.arange(samples) % K
    inputs = np.eye(K, 12)[labels] + 0.3 * generator.normal(size=(samples, 12))
    return inputs.astype("float32"), labels


X, Y = digits(96, 0)
TEST = digits(48, 1)


@contextmanager
def apart():
    """Keras draws from the global generators."""
    numpy, plain = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(plain)


def model(loss="sparse_categorical_crossentropy", rate=0.1):
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(D, activation="tanh", name="features"),
            keras.layers.Dense(K, activation="softmax", bias_initializer="random_normal"),
        ]
    )
    made.compile(keras.optimizers.SGD(rate), loss)
    return made


def fitted(made, labels, callback, **options):
    return made.fit(
        X, labels[0], batch_size=16, epochs=2, verbose=0, callbacks=[callback],
        validation_data=(TEST[0], labels[1]), **options,
    ).history  # fmt: skip


def test_readings_stand_in_the_history_and_equal_measure() -> None:
    with apart():
        made, callback = model(), CollapseCallback(half_life=30)
        before = made.call, made.compute_loss
        history = fitted(made, (Y, TEST[1]), callback)
        assert (made.call, made.compute_loss) == before
        tap = keras.Model(made.inputs, made.get_layer("features").output)
        features = tap.predict(TEST[0], verbose=0)
        kernel, bias = (part.value.detach() for part in made.layers[-1].weights)
        made.evaluate(*TEST, verbose=0, callbacks=[callback])
    m = nc.measure_features(
        features, TEST[1], weight=kernel.T, bias=bias, null=False, intervals=False
    )
    for key in ("class_share", "nc1_fisher", "nc3_duality"):
        assert history[f"nc/val/head/{key}"][-1] == pytest.approx(m.value(key), rel=1e-3)
        assert callback.values[f"nc/val/head/{key}"] == pytest.approx(m.value(key), rel=1e-3)
    assert history["nc_headline"] == history["nc/val/head/class_share"]
    assert len(history["nc/online/head/nc1_ratio"]) == len(history["loss"]) == 2
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in made.modules())


def test_labels_as_columns_and_as_rows_read_the_same() -> None:
    found = []
    for loss, shaped in (
        ("sparse_categorical_crossentropy", lambda y: y),
        ("sparse_categorical_crossentropy", lambda y: y[:, None]),
        ("categorical_crossentropy", lambda y: np.eye(K, dtype="float32")[y]),
    ):
        with apart():
            history = fitted(
                model(loss), (shaped(Y), shaped(TEST[1])), CollapseCallback(), shuffle=False
            )
        found.append({key: v for key, v in history.items() if key.startswith("nc")})
    assert found[0]
    for other in found[1:]:
        for key, values in found[0].items():
            assert other[key] == pytest.approx(values, rel=1e-3, nan_ok=True)


def test_what_cannot_be_read_is_said(monkeypatch) -> None:
    with apart():
        plain = keras.Sequential([keras.Input((12,)), keras.layers.Activation("relu")])
        plain.compile("sgd", "mse")
        assert last_kernel(plain) is None
        with pytest.warns(nc.NCollapseWarning, match="no linear layer was found"):
            plain.evaluate(X, X, verbose=0, callbacks=[CollapseCallback(online=False)])
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=torch"):
        CollapseCallback()
