"""Access to NATS JetStream. No other package imports its client library."""
