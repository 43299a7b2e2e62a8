"""A run directory: its data, training, checkpoints, results and reports."""
