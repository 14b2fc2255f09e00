"""Binding energies of lithium, and the descriptor dE."""
