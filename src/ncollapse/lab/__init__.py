"""The machinery of studies: claims, runs, training, data, and what a study leaves on disk."""
