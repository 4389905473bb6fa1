"""Where records go, one format a file. A sink writes; it computes nothing."""
