"""Interface screening: matches, terminations and registries ranked with a potential."""
