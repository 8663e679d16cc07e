"""Model or files plus data → mergeable statistics."""
