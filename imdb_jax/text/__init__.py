"""Text to numbers: tokens, vocabularies and n-grams, on NumPy and Arrow."""
