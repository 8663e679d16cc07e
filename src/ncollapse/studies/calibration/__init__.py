"""Study: how often verdicts are wrong, and the cuts with which they are wrong least."""
