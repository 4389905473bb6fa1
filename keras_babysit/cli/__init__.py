"""The `keras-babysit` command, one file a subcommand."""
