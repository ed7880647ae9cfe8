"""How fast the importer is, as ratios within one run: `make bench`. docs/performance.md has the results."""
