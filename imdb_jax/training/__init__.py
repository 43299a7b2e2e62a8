"""Training: the compiled step, the optimizer, evaluation, and the loop over epochs."""
