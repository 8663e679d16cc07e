"""Collapse in the history of Keras 3 on its torch backend: one callback.

Runs in seconds: `python examples/keras_callback.py`.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
from sklearn.datasets import load_digits

from ncollapse.tracking.keras import CollapseCallback


def main() -> None:
    keras.utils.set_random_seed(0)
    data = load_digits()
    inputs, labels = data.data.astype("float32") / 16, data.target
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.2, momentum=0.9, weight_decay=5e-4),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(
        inputs[:1200],
        labels[:1200],
        batch_size=100,
        epochs=8,
        validation_data=(inputs[1200:], labels[1200:]),
        callbacks=[CollapseCallback()],
        verbose=0,
    )
    for key, values in sorted(history.history.items()):
        print(f"{key:<40}{values[0]:>9.4f} → {values[-1]:.4f}")


if __name__ == "__main__":
    main()
