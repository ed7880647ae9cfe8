"""The state of an installation at one moment, and what it means."""
