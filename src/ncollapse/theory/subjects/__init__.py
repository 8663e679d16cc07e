"""What theory says about imbalance, landscapes and measured runs."""
