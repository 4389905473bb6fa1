"""KerasTuner's four tuners, with its arguments and methods, over `Search`."""
