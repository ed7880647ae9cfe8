"""The HTTP client of SISU's export APIs."""
