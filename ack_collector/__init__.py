"""The ack_collector: count what mankelis report. It never publishes a chunk."""
