"""Encoded reviews, their splits and order, and the batches that a step is given."""
