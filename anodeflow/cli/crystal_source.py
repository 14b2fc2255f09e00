"""What `anodeflow build` starts from: a crystal of the catalogue, a structure file, or a relaxed crystal of a store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anodeflow.errors import InputError, StoreError, StructureError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from anodeflow.structures.argyrodite_files import MeasuredArgyrodite


@dataclass(frozen=True)
class Relaxed:
    """Where a relaxed crystal is looked up."""

    store: Path
    engine: str
    card: str


@dataclass(frozen=True)
class Source:
    """A crystal to build from; an argyrodite formula, of which a builder makes a structure, is a formula still."""

    label: str
    crystal: Structure | str
    record: dict[str, Any]


def crystal_of(
    name: str, place: Relaxed | None, types: dict[int, str] | None = None
) -> tuple[str, Structure, dict[str, Any]]:
    """Return label, ordered structure and record of the source of a crystal.

    Parameters
    ----------
    name
        Of the catalogue, or the path of a structure file.
    place
        Where its relaxed structure is taken from; None takes it as it is.
    types
        Elements of the atom types of a LAMMPS data file.

    Raises
    ------
    InputError
        If there is no such crystal, or no such relaxation in the store.
    StructureError
        If it has partially occupied positions.
    StoreError
        If the store cannot be read.
    """
    from anodeflow.structures.catalogue import get_entry, load_crystal

    path = Path(name).expanduser()
    if _is_argyrodite(name):
        raise StructureError(
            f"{name} has partially occupied positions, a slab needs an ordered configuration",
            f"run `anodeflow build argyrodite {name}`, then give the path of one of its CIF files instead",
        )
    try:
        entry = get_entry(name)
    except InputError:
        if types is None:
            structure = load_crystal(name)
        else:
            from anodeflow.structures.structure_files import read_structure

            structure = read_structure(path, types)
        # A POSCAR does not name its crystal; a file that begins so would be read back as one.
        named = not path.name.upper().startswith(("POSCAR", "CONTCAR"))
        label = path.stem if named else structure.composition.reduced_formula
        record = record_of_file(path)
        host = path.stem if path.suffix else name
    else:
        if types is not None:
            raise InputError(f"{name} is a crystal of the catalogue", "leave out --types, or give a LAMMPS data file")
        structure, label, host = load_crystal(entry.name), entry.name, entry.name
        record = {"catalogue": entry.name, "source": entry.source, "method": entry.method}
    if place is not None:
        remedy = f"a study with `crystal: {name}` among its hosts"
        structure, relaxation = relaxed_crystal(host, structure, place, remedy)
        record |= relaxation
    structure = structure.copy()
    structure.remove_oxidation_states()
    structure.properties = {"crystal": label}
    return label, structure, record


def side_of(name: str, place: Relaxed | None) -> Source:
    """Return one side of an interface: as `crystal_of`, or an argyrodite formula.

    The formula stands for its configuration of lowest Ewald energy.
    """
    if not _is_argyrodite(name):
        return Source(*crystal_of(name, place))
    if place is not None:
        raise InputError(
            f"{name} names no single crystal that could have been relaxed",
            f"run `anodeflow build argyrodite {name}`, relax one of its CIF files in a study, and give that file",
        )
    from anodeflow.structures.catalogue import get_entry

    record = {"argyrodite": name, "configuration": "lowest Ewald energy, seed 0", "source": get_entry("LPSC").source}
    return Source(name.replace("/", "_"), name, record)


def relaxed_crystal(
    label: str, given: Structure, place: Relaxed, remedy: str
) -> tuple[Structure, dict[str, Any]]:  # fmt: skip
    """Return the newest converged relaxation of a crystal in a store, and the record of it.

    Parameters
    ----------
    label
        Of the crystal, as a study labels it.
    given
        The structure that the relaxation must have started from.
    place
        Store, engine and card.
    remedy
        Which study would make it.

    Returns
    -------
    tuple
        Its structure, and which calculation of which store it is.

    Raises
    ------
    InputError
        If the store holds none.
    StoreError
        If it cannot be read.
    """
    from anodeflow.documents import CalculationDoc
    from anodeflow.structures.packings import held_by_dispersion
    from anodeflow.workflows.store import open_job_store
    from anodeflow.workflows.studies.lithium import crystal_task

    command = (
        f"make it with `anodeflow run STUDY.yaml --store {place.store}`: {remedy}, "
        f"engine: {place.engine}, card: {place.card}"
    )
    try:
        store = open_job_store(place.store, must_exist=True, read_only=True)
    except StoreError as error:
        raise StoreError(error.problem, command if not place.store.exists() else error.remedy) from None
    criteria = {
        "output.doc_type": "CalculationDoc", "output.converged": True, "output.label": f"{label}/crystal",
        "output.charge": 0, "output.engine.name": place.engine, "output.card.name": place.card,
    }  # fmt: skip
    rows = store.query(criteria, properties=["output", "completed_at"], sort={"completed_at": -1})
    documents = [(CalculationDoc.model_validate(row["output"]), str(row.get("completed_at"))) for row in rows]
    store.close()
    # a dispersion-bound crystal keeps its cell in every study whose card adds no dispersion
    documents = [(doc, at) for doc, at in documents if doc.task == crystal_task(label, doc.card)]
    for doc, completed_at in documents:
        if doc.initial_structure is not None and _same_crystal(doc.initial_structure, given):
            structure = doc.structure.copy()
            for name in list(structure.site_properties):
                structure.remove_site_property(name)
            record = {
                "relaxed": f"{label}/crystal", "task": doc.task, "fingerprint": doc.fingerprint,
                "engine": doc.engine.model_dump(), "card": doc.card.model_dump(), "store": str(place.store),
                "completed_at": completed_at,
            }  # fmt: skip
            return structure, record
    task = "relax, or with dispersion relax_cell" if held_by_dispersion(label) else "relax_cell"
    others = f" (but {len(documents)} of another structure of this name)" if documents else ""
    raise InputError(
        f"{place.store} holds no converged '{label}/crystal' ({task}) of engine {place.engine}, card {place.card}"
        + others,
        command,
    )


def measured_in_file(name: str, formula_units: int) -> MeasuredArgyrodite | None:
    """Return the argyrodite in a file of this name, None where there is no such file.

    Raises
    ------
    InputError
        If the file cannot be read, or holds something else.
    """
    from anodeflow.structures.argyrodite_files import measured_argyrodite
    from anodeflow.structures.structure_files import read_disordered

    path = Path(name).expanduser()
    if not path.is_file() and path.suffix.lower() not in (".cif", ".json", ".res", ".ins", ".gz", ".bz2", ".xz"):
        return None
    return measured_argyrodite(read_disordered(path), formula_units)


def record_of_file(path: Path) -> dict[str, str]:
    """Return path and checksum of a structure file."""
    from anodeflow.files import file_sha256

    return {"file": str(path), "sha256": file_sha256(path)}


def _is_argyrodite(name: str) -> bool:
    """Tell whether a name is an argyrodite composition, and neither a file nor an ordered crystal."""
    from anodeflow.structures.argyrodite import parse_argyrodite
    from anodeflow.structures.catalogue import get_entry

    if Path(name).expanduser().is_file():
        return False
    with suppress(InputError):
        return not get_entry(name).is_ordered
    with suppress(InputError):
        return bool(parse_argyrodite(name))
    return False


def _same_crystal(first: Structure, second: Structure) -> bool:
    """Tell whether two cells are the same within what a structure file keeps of them."""
    import numpy as np

    if len(first) != len(second) or first.composition != second.composition:
        return False
    shift = (first.frac_coords - second.frac_coords + 0.5) % 1.0 - 0.5
    same = [a.specie.symbol == b.specie.symbol for a, b in zip(first, second, strict=True)]
    return bool(
        all(same)
        and np.allclose(first.lattice.parameters, second.lattice.parameters, atol=2e-3)
        and np.abs(shift).max() < 5e-4
    )
