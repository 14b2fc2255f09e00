"""Machine-learning potentials."""
