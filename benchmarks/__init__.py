"""The importer's performance, as ratios within one run: `make bench`. docs/performance.md has the results."""
