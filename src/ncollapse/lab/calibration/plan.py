"""The reference models of the calibration study: lines of networks, families of populations."""

from __future__ import annotations

# net, data, most and fewest samples a class, labels, loss, decay, epochs
MLP = [
    ["mlp", "digits", 60, 60, "true", "ce", 5e-3, 400],
    ["mlp", "digits", 60, 60, "true", "ce", 5e-4, 2000],
    ["mlp", "digits", 60, 60, "true", "ce", 0.0, 2000],
    ["mlp", "digits", 60, 60, "true", "ce", 5e-2, 400],
    ["mlp", "digits", 60, 60, "true", "mse", 5e-3, 400],
    ["mlp", "digits", 60, 60, "true", "mse", 5e-4, 600],
    ["mlp", "digits", 60, 60, "true", "ls", 5e-3, 400],
    ["mlp", "digits", 60, 60, "true", "ls", 5e-4, 600],
    ["mlp", "digits", 60, 60, "true", "focal", 5e-3, 400],
    ["mlp", "digits", 60, 60, "true", "focal", 5e-4, 600],
    ["mlp", "digits", 60, 60, "shuffled", "ce", 5e-3, 600],
    ["mlp", "digits", 60, 60, "shuffled", "mse", 5e-3, 600],
    ["mlp", "digits", 100, 10, "true", "ce", 5e-3, 400],
    ["mlp", "digits", 100, 5, "true", "ce", 5e-3, 400],
    ["mlp", "digits", 100, 20, "true", "ls", 5e-3, 400],
    ["mlp", "digits-5", 60, 60, "true", "ce", 5e-3, 400],
    ["mlp", "digits-5", 60, 60, "true", "mse", 5e-3, 400],
    ["mlp", "digits-5", 100, 5, "true", "ce", 1e-2, 400],
    ["mlp", "digits-3", 60, 60, "true", "ce", 5e-3, 400],
    ["mlp-relu", "digits", 60, 60, "true", "ce", 5e-3, 400],
    ["mlp-narrow", "digits", 60, 60, "true", "ce", 5e-3, 400],
    ["mlp-narrow", "digits", 60, 60, "true", "mse", 5e-4, 400],
]
IMAGES = [
    ["conv", "digits", 40, 40, "true", "ce", 5e-3, 200],
    ["conv", "digits", 40, 40, "true", "mse", 5e-4, 200],
    ["conv", "digits", 60, 6, "true", "ce", 5e-3, 200],
    ["conv", "digits", 40, 40, "shuffled", "ce", 5e-4, 300],
    ["resnet", "digits", 40, 40, "true", "ce", 5e-3, 200],
    ["resnet", "digits", 40, 40, "true", "mse", 5e-3, 200],
    ["resnet", "digits", 40, 40, "true", "ls", 5e-4, 200],
    ["resnet", "digits-5", 60, 6, "true", "ce", 5e-3, 200],
    ["transformer", "digits", 40, 40, "true", "ce", 5e-3, 300],
    ["transformer", "digits", 40, 40, "true", "focal", 5e-4, 300],
    ["transformer", "digits", 40, 40, "true", "mse", 5e-4, 300],
    ["transformer", "digits-5", 60, 6, "true", "ce", 5e-3, 300],
]
MNIST = [
    ["mlp", "mnist", 100, 100, "true", "ce", 5e-3, 300],
    ["mlp", "mnist", 100, 100, "true", "ls", 5e-4, 300],
    ["mlp", "mnist", 100, 10, "true", "ce", 5e-3, 300],
    ["mlp", "mnist", 100, 100, "shuffled", "ce", 5e-3, 400],
]
FRESH = [
    ["mlp", "blobs-easy", 60, 60, "true", "ce", 5e-3, 200],
    ["mlp", "blobs-easy", 60, 60, "true", "mse", 5e-3, 200],
    ["mlp", "blobs-easy", 60, 6, "true", "ce", 5e-3, 200],
    ["mlp", "blobs", 60, 60, "true", "ce", 5e-3, 200],
    ["mlp", "blobs", 60, 60, "true", "ls", 5e-4, 200],
    ["mlp", "blobs", 60, 6, "true", "ce", 5e-3, 200],
    ["mlp", "blobs-hard", 60, 60, "true", "ce", 5e-3, 200],
    ["mlp", "blobs-hard", 60, 60, "true", "mse", 5e-4, 200],
]
FAMILIES = ["simplex", "near", "random", "orthogonal", "lengths", "merged", "one-wide", "narrow"]
# Shares of the epochs at which a run is looked at; the first is before training.
LOOKS = [0.0, 0.02, 0.2, 1.0]
