"""One batch from fetched to settled."""
