"""A whole installation on one machine, with a simulated SISU and mankelis: for the demo, tests and benchmarks."""
