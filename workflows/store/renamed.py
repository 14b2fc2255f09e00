"""Classes that stored documents name: those that may be named at all, and those that have moved to another module."""

from __future__ import annotations

from monty.json import MSONable

#: Old module: new module. Stored documents name their class by the old one.
_MOVED_MODULES = {"anodeflow.analysis.documents": "anodeflow.documents"}
#: Classes in them that a stored document may name.
_MOVED_CLASSES = {
    "anodeflow.analysis.documents": ("CalculationDoc", "CardRecord", "Document", "EngineRecord", "StudyDoc")
}
#: Documents that a job may end in, by the module of their class.
DOCUMENT_CLASSES = {
    "anodeflow.documents": ("CalculationDoc",),
    "anodeflow.analysis.binding": ("BindingEnergyDoc", "BindingStudyDoc"),
    "anodeflow.analysis.checks": ("CheckDoc",),
    "anodeflow.analysis.crystal_properties": ("CrystalDoc", "CrystalStudyDoc"),
    "anodeflow.analysis.dynamics_runs": ("DynamicsSegmentDoc",),
    "anodeflow.analysis.dynamics_study": ("DynamicsStudyDoc", "DynamicsSystemDoc"),
    "anodeflow.analysis.elasticity": ("ElasticDoc",),
    "anodeflow.analysis.interface_documents": ("InterfaceEnergyDoc",),
    "anodeflow.analysis.interface_energy": ("InterfaceEnergyDoc",),  # where it was
    "anodeflow.analysis.interface_registries": ("InterfaceRegistriesDoc", "RegistrySearchDoc"),
    "anodeflow.analysis.interface_screening": ("ScreenedInterfacesDoc", "ScreeningStudyDoc"),
    "anodeflow.analysis.migration_documents": ("BandDoc", "MigrationBarrierDoc", "MigrationStudyDoc"),
    "anodeflow.analysis.stability.documents": ("StabilityStudyDoc",),
    "anodeflow.analysis.study_documents": ("InterfaceStudyDoc", "SurfaceStudyDoc"),
    "anodeflow.analysis.surface_energy": ("SurfaceEnergyDoc",),
    "anodeflow.analysis.vibrations": ("VibrationsDoc",),
    "anodeflow.analysis.voltage_profile": ("VoltageStudyDoc",),
}
#: What else a stored document may name: what jobflow wraps an output in, geometries, and cells that a job built.
_OTHER_CLASSES = {
    "": ("",),
    "jobflow.core.schemas": ("JobStoreDocument",),
    "jobflow.core.reference": ("OutputReference",),
    "pymatgen.core.structure": ("Structure",),
    "anodeflow.workflows.studies.graph": ("BuiltCell",),
}


def may_be_named(module: object, name: object) -> bool:
    """Return whether a stored document may name this class: a reader of it would import the module."""
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    return any(name in known.get(module, ()) for known in (DOCUMENT_CLASSES, _MOVED_CLASSES, _OTHER_CLASSES))


def redirect_old_names() -> None:
    """Tell monty's decoder where the classes of old documents are now."""
    for old, new in _MOVED_MODULES.items():
        known = MSONable.REDIRECT.setdefault(old, {})
        for name in _MOVED_CLASSES[old]:
            known[name] = {"@module": new, "@class": name}
