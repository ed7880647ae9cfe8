"""The client of NATS Streaming (STAN), with just what stan_bridge needs. Imported only where STAN_URI is set."""
