"""Rules about what a training shows: the symptoms."""
