"""Search of `train` settings on the validation split, with Optuna: `dferc tune`."""
