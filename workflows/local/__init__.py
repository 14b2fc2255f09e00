"""Studies on this machine: worker processes, and the process that keeps their order."""
