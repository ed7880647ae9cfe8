"""`importer check`: settings, connectivity and permissions."""
