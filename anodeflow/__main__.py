"""``python -m anodeflow``."""

from anodeflow.cli.main import main

main()
