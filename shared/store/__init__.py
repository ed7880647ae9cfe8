"""Access to Redis. No other package imports its client library."""
