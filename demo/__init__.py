"""A whole world on one machine: NATS, Redis, a simulated SISU and mankelis, for the demo, tests and benchmarks."""
