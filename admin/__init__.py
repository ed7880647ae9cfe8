"""Inspect and control an installation: the command line, the dashboard, and the status behind both."""
