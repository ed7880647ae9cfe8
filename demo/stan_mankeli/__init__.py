"""A mankeli of the STAN era that stores into SQLite, for the demo and the tests."""
