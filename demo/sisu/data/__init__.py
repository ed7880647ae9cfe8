"""Made-up entities of all services."""
