"""The ack_collector: counts what the mankelis report, and never publishes a chunk."""
