"""What goes into `model.fit(callbacks=...)`, one class a file."""
