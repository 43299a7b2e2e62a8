"""A run directory: what is in it, and how a run gets there."""
