"""Documents → pages: reports read what is saved, never a model."""
