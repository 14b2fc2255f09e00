"""Tuning of potentials to energies and forces of an engine with electrons, by their own trainers."""
