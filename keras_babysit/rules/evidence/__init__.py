"""What several rules ask of a run: tasks, progress, kernels. No rules here."""
