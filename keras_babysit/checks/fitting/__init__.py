"""Overfitting a few samples: which, how, and what came of it."""
