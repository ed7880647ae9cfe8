"""Real NATS and Redis servers as child processes."""
