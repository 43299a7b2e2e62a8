"""Trained models in other formats."""
