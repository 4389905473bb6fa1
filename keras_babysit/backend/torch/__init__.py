"""What keras_babysit needs of PyTorch."""
