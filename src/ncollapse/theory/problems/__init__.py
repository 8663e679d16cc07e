"""Problems: objective, assumptions, sources, and the solvers that serve them."""
