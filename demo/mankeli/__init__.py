"""A mankeli that stores into SQLite, and the comparison of its store with SISU."""
