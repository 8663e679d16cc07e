"""Features of a forward pass, kept for a second look."""
