"""Study: which frame networks end in under each loss, with a bias and without."""
