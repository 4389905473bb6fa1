"""The hyperparameters of a search: ranges, scales, borders, and narrower ranges."""
