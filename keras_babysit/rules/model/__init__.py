"""Rules about causes in the model."""
