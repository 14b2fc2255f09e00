"""Migration barriers."""
