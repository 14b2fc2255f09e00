"""Stability of electrolytes."""
