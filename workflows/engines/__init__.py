"""Engines: who computes. `registry` finds one by its name."""
