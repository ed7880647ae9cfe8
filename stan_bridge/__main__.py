"""`python -m stan_bridge`."""

import sys

from stan_bridge.main import main

sys.exit(main())
