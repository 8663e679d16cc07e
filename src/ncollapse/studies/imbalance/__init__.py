"""Study: what class counts do to the frame, on free features and in a real network."""
