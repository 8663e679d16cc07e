"""What the calibration study is made of: reference models, what is true of them, cuts chosen."""
