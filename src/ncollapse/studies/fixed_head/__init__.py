"""Study: what a fixed simplex head costs in accuracy, and what it saves."""
