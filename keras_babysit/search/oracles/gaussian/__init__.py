"""Bayesian optimization: an oracle over a Gaussian process in the unit cube."""
