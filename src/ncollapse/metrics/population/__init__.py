"""Population values: what readings of a sample say of the network that it was drawn from."""
