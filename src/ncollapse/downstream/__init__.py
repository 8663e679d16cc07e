"""What collapse does elsewhere: hostile, foreign and new data."""
