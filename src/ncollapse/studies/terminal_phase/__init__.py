"""Study: what happens after zero training error, and what collapse on random labels is worth."""
