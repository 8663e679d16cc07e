"""The training film: recorded features, turned onto the ideal simplex."""
