"""What every process needs to run: start, shutdown, logging, metrics, health."""
