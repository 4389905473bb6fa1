"""What is known before training: frozen facts of a model and of what `fit` feeds it."""
