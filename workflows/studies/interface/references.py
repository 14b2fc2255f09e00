"""What interface cells are measured against: crystals in the interface's plane, the strained film's free surface."""

from __future__ import annotations

from pymatgen.core import Structure

from anodeflow.analysis.surface_energy import SlabMember, SurfaceEnergyDoc, surface_energy_doc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.oriented_bulk import aligned_crystals, strained_film_bulk, strained_film_slab
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.studies.card_roles import Role
from anodeflow.workflows.studies.graph import CalculationStep, Documents, Setup, Travelling
from anodeflow.workflows.studies.interface.cells import Film, Pair

_STRAINED_STEPS, _SLAB_STEPS = 10, 12


def strained_label(pair: Pair) -> str:
    """Return the label of the strained crystal of the film."""
    return f"{pair.film.crystal}/strained"


def aligned_labels(pair: Pair) -> tuple[str, str]:
    """Return the labels of the unstrained crystals in the interface's plane, film and substrate."""
    return f"{pair.film.crystal}/aligned film", f"{pair.substrate.crystal}/aligned substrate"


def crystals_in_plane(model: InterfaceModel, pair: Pair, setup: Setup, align: bool) -> list[CalculationStep]:
    """Return the strained crystal of the film and, for engines with k-points by a spacing, both unstrained ones.

    These have upright cells over the plane of the interface and so its mesh; that of the unstrained film, whose cell is
    of another size, is given.

    Parameters
    ----------
    model
        An interface cell.
    pair
        What the study file says.
    setup
        Engine and card.
    align
        Whether the unstrained crystals are computed once more.
    """
    engine, card = get_engine(setup.engine), setup.card_of("interface")
    by_spacing = engine.capabilities.kpoints and card.kpoints is not None and card.kpoints.mesh is None
    aligned = aligned_crystals(model) if align and by_spacing else None
    if aligned is None:
        return [_crystal_step(strained_label(pair), strained_film_bulk(model), pair.film.crystal, "relax_c", "crystal")]
    mesh = engine.mesh(aligned.strained_film, card)
    kpoints = {"mesh": mesh, "centre": card.kpoints.centre if card.kpoints is not None else "gamma"}
    film, substrate = aligned_labels(pair)
    fixed = card.varied("mesh of the strained crystal", kpoints=kpoints)
    return [
        _crystal_step(strained_label(pair), aligned.strained_film, pair.film.crystal, "relax_c", "interface"),
        CalculationStep(
            label=film,
            task="static",
            structure=aligned.film,
            expected_steps=0,
            crystal=pair.film.crystal,
            role="interface",
            card=fixed,
        ),
        _crystal_step(substrate, aligned.substrate, pair.substrate.crystal, "static", "interface"),
    ]


def _crystal_step(label: str, structure: Structure, crystal: str, task: Task, role: Role) -> CalculationStep:
    steps = 0 if task == "static" else _STRAINED_STEPS
    return CalculationStep(
        label=label, task=task, structure=structure, expected_steps=steps, crystal=crystal, role=role
    )


class StrainedSlab(Travelling):
    """One slab of the film strained as in the interface."""

    label: str
    layers: int
    n_units: float
    thickness_angstrom: float
    area_angstrom2: float
    symmetric: bool


def strained_slabs(
    models: list[InterfaceModel], film: Film, vacuum_angstrom: float
) -> tuple[list[CalculationStep], list[StrainedSlab]]:
    """Return the slabs of the strained film, and what their builder knew.

    Parameters
    ----------
    models
        Interfaces whose films have the thicknesses wanted.
    film
        What the study file says of it.
    vacuum_angstrom
        Over each slab.
    """
    steps, facts = [], []
    for model in models:
        label = f"{film.face} strained/{model.film.layers} layers"
        structure = strained_film_slab(model, vacuum_angstrom)
        steps.append(
            CalculationStep(
                label=label,
                task="relax",
                structure=structure,
                expected_steps=_SLAB_STEPS,
                crystal=film.crystal,
                role="slab",
            )
        )
        facts.append(
            StrainedSlab(
                label=label,
                layers=model.film.layers,
                n_units=model.n_film_units,
                thickness_angstrom=model.film.thickness_angstrom,
                area_angstrom2=model.area_angstrom2,
                symmetric=model.film.symmetric,
            )
        )
    return steps, facts


def strained_surface(
    slabs: list[StrainedSlab],
    film: Film,
    strained: CalculationDoc | None,
    docs: Documents,
    aligned: bool,
    other_card: str | None = None,
) -> SurfaceEnergyDoc | None:
    """Return the surface energy of the strained film; with `error` if it has none, None if none was asked for.

    Parameters
    ----------
    slabs, film
        What was computed.
    strained
        The strained crystal.
    docs
        The slabs' documents by label.
    aligned
        Whether the strained crystal has the mesh of the slabs.
    other_card
        How its card differs from theirs, as text; None: it does not.
    """
    if not slabs:
        return None
    try:
        members = [_member(facts, docs[facts.label]) for facts in slabs]
        return surface_energy_doc(
            members,
            crystal=film.crystal,
            miller=film.miller,
            termination="strained as in the interface",
            bulk=strained,
            aligned_bulk=strained if aligned and other_card is None else None,
            method="fit" if len(slabs) > 1 else "single",
            other_card=other_card,
        )
    except AnodeflowError as error:
        return SurfaceEnergyDoc(
            crystal=film.crystal,
            miller=film.miller,
            termination="strained as in the interface",
            method="fit" if len(slabs) > 1 else "single",
            error=str(error),
        )


def _member(facts: StrainedSlab, calculation: CalculationDoc | None) -> SlabMember:
    if calculation is None:
        raise EngineError(f"{facts.label} was not computed", "see the first failure of this run")
    return SlabMember(calculation=calculation, **facts.model_dump(exclude={"label"}))
