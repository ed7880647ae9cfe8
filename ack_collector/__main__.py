"""`python -m ack_collector`."""

import sys

from ack_collector.main import main

sys.exit(main())
