"""`python -m operating`: the same as `importer`."""

from operating.cli import main

main()
