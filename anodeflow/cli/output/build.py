"""What `anodeflow build` prints: tables of what can be built, and the text of pictures.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Lattice

    from anodeflow.analysis.interface_registries import ScoredRegistry
    from anodeflow.cli.crystal_source import Source
    from anodeflow.structures.interfaces import InterfaceModel
    from anodeflow.structures.slabs import SlabModel


def print_listing(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows as a table, with words for truth values, or as JSON."""
    from anodeflow.cli.output.tables import print_rows

    words = {True: "yes", False: "no"}
    shown = [{k: words[v] if isinstance(v, bool) else v for k, v in row.items()} for row in rows]
    print_rows(rows if as_json else shown, as_json)


def termination_row(model: SlabModel) -> dict[str, Any]:
    """Return one termination for a table."""
    excess = " ".join(f"+{n:g} {symbol}" for symbol, n in model.excess.items())
    return {
        "n": model.termination_index,
        "label": model.termination,
        "polar": model.polar,
        "stoichiometry": "stoichiometric" if model.stoichiometric else excess,
        "symmetric": model.symmetric,
        "broken_bonds": model.broken_bonds,
        "layers": model.layers,
        "atoms": len(model.structure),
        "thickness_angstrom": model.thickness_angstrom,
        "area_angstrom2": model.area_angstrom2,
    }


def match_row(number: int, match: Any, chosen: bool) -> dict[str, Any]:
    """Return one lattice match for a table.

    Parameters
    ----------
    number
        Of the match in the list.
    match
        The match.
    chosen
        Whether it is the one that is taken by default.

    Returns
    -------
    dict
        One value a column.
    """
    low, high = match.strain.principal_percent
    return {
        "n": number,
        "strain_percent": round(match.strain.max_principal_percent, 4),
        "principal_percent": f"{low:+.3f} {high:+.3f}",
        "strained": match.strained,
        "area_angstrom2": match.area_angstrom2,
        "atoms": match.atoms,
        "film_cells": match.film_cells,
        "substrate_cells": match.substrate_cells,
        "rotation_deg": round(match.rotation_deg, 3),
        "film_vectors": _matrix_text(match.film_matrix),
        "substrate_vectors": _matrix_text(match.substrate_matrix),
        "default": chosen,
    }


def registry_row(entry: ScoredRegistry) -> dict[str, Any]:
    """Return one registry of an interface for a table."""
    scored = entry.energy_ev is not None
    kind = "held by symmetry" if entry.held else "minimum" if entry.stationary else "slope"
    row: dict[str, Any] = {
        "registry": entry.label,
        "shift": f"{entry.shift[0]:.4g} {entry.shift[1]:.4g}",
        "vector_angstrom": " ".join(f"{round(x, 2) + 0.0:.2f}" for x in entry.vector_angstrom),
        "kind": kind if scored or entry.held else "of a grid",
    }
    if scored:
        row |= {
            "above_lowest_j_per_m2": round(entry.above_lowest_j_per_m2 or 0.0, 4),
            "gap_angstrom": entry.gap_angstrom,
        }
    return row


def _matrix_text(matrix: Sequence[Sequence[int]]) -> str:
    """Return the two supercell vectors of a side, in its own cells: ``3 1, 0 2``."""
    return ", ".join(" ".join(map(str, row)) for row in matrix)


def _cell_text(lattice: Lattice) -> str:
    """Return a cell for people: ``a = 5.130 Å``, or all three lengths and the angles that are not 90 degrees."""
    a, b, c = lattice.abc
    lengths = f"a = {a:.3f}, b = {b:.3f}, c = {c:.3f} Å"
    if max(a, b, c) - min(a, b, c) < 5e-4:
        lengths = f"a = {a:.3f} Å"
    angles = [f"{name} = {x:.2f}°" for name, x in zip("αβγ", lattice.angles, strict=True) if abs(x - 90) > 0.005]
    return ", ".join([lengths, *angles])


def _bulk_text(source: dict[str, Any]) -> str:
    """Return where a cell comes from, for a picture."""
    if "relaxed" in source:
        return f"relaxed with {source['engine']['name']}, card {source['card']['name']}"
    return f"file {Path(source['file']).name}" if "file" in source else "catalogue"


def _face(slab_model: SlabModel) -> str:
    """Return a crystal and its Miller index, as mathtext."""
    from anodeflow.analysis.figures.style import formula_label, miller_label

    return formula_label(slab_model.crystal) + miller_label(slab_model.miller)


def index_name(miller: Sequence[int]) -> str:
    """Return a Miller index in a file name: ``100``, or ``1_-1_0`` where digits alone would be misread."""
    from anodeflow.structures.slabs import index_text

    return index_text(miller, "_")


def slab_text(model: SlabModel, bulk: Lattice, source: dict[str, Any]) -> tuple[str, list[str]]:
    """Return title and lines of a slab's picture.

    Parameters
    ----------
    model
        The slab.
    bulk
        Cell that the Miller index refers to.
    source
        Record of where the crystal comes from.

    Returns
    -------
    tuple
        The title, as mathtext, and the lines.
    """
    kind = [
        "symmetric" if model.symmetric else "two different faces",
        "polar" if model.polar else "nonpolar",
        "stoichiometric" if model.stoichiometric else "not stoichiometric",
    ]
    frozen = f", {model.frozen_atoms} frozen" if model.frozen_atoms else ""
    lines = [
        f"Miller index of the cell {_cell_text(bulk)} ({_bulk_text(source)})",
        f"termination {model.termination} ({', '.join(kind)}); {model.layers} layers, "
        f"{len(model.structure)} atoms{frozen}",
        f"thickness {model.thickness_angstrom:.2f} Å, vacuum {model.vacuum_angstrom:.2f} Å, "
        f"area {model.area_angstrom2:.2f} Å²",
    ]
    return f"{_face(model)} slab", lines


def interface_text(model: InterfaceModel, sides: Sequence[Source]) -> tuple[str, list[str]]:
    """Return title and lines of an interface's picture."""
    from anodeflow.structures.registry import contact_problems, registries
    from anodeflow.structures.slabs import face_text

    strains = zip(("film", "substrate"), (model.film_strain, model.substrate_strain), strict=True)
    strained = [
        f"strain of the {name}: {strain.principal_percent[0]:+.2f} % and {strain.principal_percent[1]:+.2f} %"
        for name, strain in strains
        if model.strained in (name, "both")
    ]
    both = "both contacts" if model.contacts == 2 else "the contact"
    empty = "periodic, no vacuum" if model.vacuum_angstrom is None else f"vacuum {model.vacuum_angstrom:.2f} Å"
    lines = [
        f"{'; '.join(strained)}; area {model.area_angstrom2:.1f} Å², {len(model.structure)} atoms",
        f"gap {model.gaps_angstrom[0]:.2f} Å at {both}, {empty}; shortest distance across "
        f"{model.shortest_contact_angstrom:.2f} Å ({'-'.join(model.contact_elements)})",
    ]
    if model.ranked_by or any(model.shift):
        chosen = f", the best of a scan by {model.ranked_by}" if model.ranked_by else ""
        lines.append(f"film shifted by {model.shift[0]:.4g} a and {model.shift[1]:.4g} b{chosen}")
    for number, registry in enumerate(registries(model), 1):
        lines.append(f"contact {number}: {registry.label}")
    for name, slab_model, side in zip(("film", "substrate"), (model.film, model.substrate), sides, strict=True):
        origin = "argyrodite configuration of lowest Ewald energy"
        if not isinstance(side.crystal, str):
            origin = f"cell {_cell_text(side.crystal.lattice)}, {_bulk_text(side.record)}"
        lines.append(
            f"{name}: {slab_model.crystal}{face_text(slab_model.miller)} ({origin}), "
            f"termination {slab_model.termination}, {slab_model.layers} layers, {slab_model.thickness_angstrom:.2f} Å"
        )
    return f"{_face(model.film)} film on {_face(model.substrate)} substrate", [
        *lines,
        *(f"note: {text}" for text in [*model.warnings, *contact_problems(model, model.structure)]),
    ]


def configuration_rows(ensemble: Any) -> list[dict[str, Any]]:
    """Return the ranking of argyrodite configurations, the lowest Ewald energy first."""
    return [
        {
            "n": number,
            "above_lowest_ev_per_fu": f"{configuration.ewald_ev_per_fu:+.2f}",
            **{f"on {site}": _counts(configuration.anion_sites[site]) for site in ("4a", "4d")},
        }
        for number, configuration in enumerate(ensemble.configurations, start=1)
    ]


def _counts(anions: dict[str, int]) -> str:
    return " ".join(f"{n} {symbol}" for symbol, n in anions.items() if n)


def argyrodite_text(ensemble: Any, number: int, relaxed: bool) -> tuple[str, list[str]]:
    """Return title and lines of the picture of one configuration.

    Parameters
    ----------
    ensemble
        All configurations.
    number
        Of the configuration, from 1.
    relaxed
        Whether the picture shows the relaxed cell.

    Returns
    -------
    tuple
        The title, as mathtext, and the lines.
    """
    from anodeflow.analysis.figures.style import formula_label

    configuration, cell = ensemble.configurations[number - 1], ensemble.cell
    anions = "; ".join(f"{site}: {_counts(configuration.anion_sites[site])}" for site in ("4a", "4d"))
    lines = [
        f"configuration {number} of {len(ensemble.configurations)}, unrelaxed Ewald energy "
        f"{configuration.ewald_ev_per_fu:+.2f} eV/f.u. above the lowest",
        f"free anions on {anions}; anion order {ensemble.anion_order}",
        f"{cell['formula_units']} formula units, {cell['atoms']} atoms, cubic edge {cell['cubic_edge_angstrom']:.3f} Å"
        + ("; relaxed by an engine" if relaxed else ""),
    ]
    return formula_label(ensemble.composition.formula), lines
