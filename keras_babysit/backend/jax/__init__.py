"""What keras_babysit needs of JAX."""
