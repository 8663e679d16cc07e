"""Study: the phase transition past which minority classifiers merge."""
