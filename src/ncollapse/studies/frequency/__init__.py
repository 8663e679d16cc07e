"""Study: what class frequency does to blocks and lengths, with more than two groups."""
