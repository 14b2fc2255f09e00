"""Meaning: energies to descriptors, references, published values and figures."""
