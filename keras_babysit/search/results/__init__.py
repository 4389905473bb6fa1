"""What a search found: its report, tables, rankings and pictures."""
