"""The public verbs: models, arrays and files become a Measurement."""
