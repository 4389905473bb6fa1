"""How good members and ensembles are, on data with labels."""
