"""Statistics and geometry → numbers: pure, differentiable functions, one catalog row each."""
