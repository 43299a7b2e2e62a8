"""The IMDb reviews: downloaded or read from an archive, prepared as TFDS does, and read back."""
