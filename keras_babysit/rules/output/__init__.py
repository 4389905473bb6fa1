"""Rules about causes in the output, its loss and its targets."""
