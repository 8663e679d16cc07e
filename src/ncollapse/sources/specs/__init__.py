"""Models and data named in a word: hub names, folders, the user's own functions."""
