"""GPAW in plane-wave mode."""
