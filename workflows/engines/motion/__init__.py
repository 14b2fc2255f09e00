"""Moving atoms with the forces of any engine: relaxations, bands, dynamics."""
