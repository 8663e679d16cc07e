"""Several processes that measure together: shares of the data, exact merging."""
