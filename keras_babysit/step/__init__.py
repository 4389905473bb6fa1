"""The observed training step: building it, choosing it, one backend a file."""
