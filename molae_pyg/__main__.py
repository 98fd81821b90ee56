"""``python -m molae_pyg`` is the ``molae`` command."""

import sys

from molae_pyg.cli import main

sys.exit(main())
