"""Rules about causes in the data."""
