"""The producer: fetches batches from SISU, publishes their chunks and moves the ordinal on when all is settled."""
