"""Rules about causes in the settings of the training."""
