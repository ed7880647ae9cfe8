"""What the programs share, in layers: model, config, runtime, then store (Redis), broker (NATS) and sisu (HTTP)."""
