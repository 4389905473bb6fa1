"""TensorBoard event files, written and read without TensorFlow."""
