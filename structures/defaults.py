"""Defaults that studies, builders and the command line share. Nothing is imported here."""

#: Default vacuum over a clean slab, angstrom: what the papers of surface energies use. Its few calculations are small.
VACUUM_ANGSTROM = 15.0
#: Default vacuum over a slab that takes Li, angstrom. It is less than over a clean slab: a study has one such slab for
#: every site and host, wide enough to keep Li from its images, and a plane-wave code pays for the empty volume.
VACUUM_WITH_LITHIUM_ANGSTROM = 12.0
