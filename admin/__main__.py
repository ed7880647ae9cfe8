"""`python -m admin`: the same as `importer`."""

from admin.cli.app import main

main()
