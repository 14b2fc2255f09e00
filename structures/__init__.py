"""Matter: crystals, slabs, interfaces and sites. Pure functions on pymatgen structures."""
