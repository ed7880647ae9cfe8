"""Which permissions a user of Redis or NATS lacks."""
