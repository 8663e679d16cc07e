"""Study: which frame each loss ends in, how fast, and when the choice matters for accuracy."""
