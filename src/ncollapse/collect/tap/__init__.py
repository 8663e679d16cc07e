"""Models and loaders become batches of features: hooks, heads, pooling, tokens."""
