"""Thermodynamics of phases: the hull, windows against lithium, reactions at interfaces. Energies in, documents out."""
