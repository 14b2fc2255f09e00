"""Engines: the programs and potentials that compute. `registry` finds one by its name."""
