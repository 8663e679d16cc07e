"""Questions that readers ask, each with the readings it needs, its rule and its words."""
