"""Interface energies."""
