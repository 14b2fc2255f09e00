"""Quantum ESPRESSO (pw.x)."""
