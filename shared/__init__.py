"""What the producer and the ack_collector share: settings, names, messages, the ledger and the two clients."""
