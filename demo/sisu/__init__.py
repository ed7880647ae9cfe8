"""A simulated SISU."""
