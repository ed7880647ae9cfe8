"""Values and rules of the domain. Imports no client library."""
