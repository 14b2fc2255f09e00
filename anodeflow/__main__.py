"""``python -m anodeflow``."""

import sys

# ``python -m`` looks for modules in the current folder first: a stray queue.py beside a study must not be run.
if not sys.flags.safe_path:
    del sys.path[0]

from anodeflow.cli.main import main

main()
