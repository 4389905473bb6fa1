"""How a result is shown: blocks of content, and one renderer for each format."""
