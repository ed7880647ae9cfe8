"""The producer: fetch batches from SISU, publish their chunks, and move the ordinal once everything is settled."""
