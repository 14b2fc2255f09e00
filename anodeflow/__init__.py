"""First-principles workflows for aluminium and lithium-aluminium anodes against sulfide electrolytes."""

__version__ = "0.1.0"
