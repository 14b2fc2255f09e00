"""Surface energies."""
