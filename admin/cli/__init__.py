"""The program `importer`."""
