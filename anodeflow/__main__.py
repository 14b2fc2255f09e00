"""``python -m anodeflow``."""

from anodeflow.cli import main

main()
