"""What members put out, and how that is averaged: NumPy only where it can be."""
