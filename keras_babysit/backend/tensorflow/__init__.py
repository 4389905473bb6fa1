"""Everything that knows TensorFlow."""
