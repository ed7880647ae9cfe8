"""When the producer works, and on whose behalf: the lock, the schedule, and retries that operators request."""
