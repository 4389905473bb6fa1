"""One model that learns what an ensemble knows."""
