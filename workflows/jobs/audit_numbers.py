"""Numbers of an audit that a reader can set beside known ones: surface and formation energies, elastic moduli."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain

import numpy as np
from pymatgen.core import Composition, Structure

from anodeflow.analysis.audits import AuditNumber
from anodeflow.analysis.crystal_properties import known_formation_energy
from anodeflow.analysis.elasticity import averages, fit_stiffness, needed_modes
from anodeflow.analysis.reference_values import published_values
from anodeflow.analysis.surface_energy import surface_energy
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.structures.slabs import build_slab
from anodeflow.structures.strains import rotations, strained
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Outcome, Request

#: Faces whose energy tells most of a potential for anodes and salts, with the planes of the slab.
_FACES: tuple[tuple[str, tuple[int, int, int], int], ...] = (
    ("Li", (1, 0, 0), 9), ("Li", (1, 1, 0), 9), ("Al", (1, 1, 1), 7), ("LiCl", (1, 0, 0), 8),
)  # fmt: skip
#: Crystals whose moduli are compared: cubic ones, of two strains each.
_MODULI = ("Li", "Al", "LiAl", "LiCl", "Li2S")
_STRAIN = 0.01

Asked = tuple[str, str, str, float | None, Callable[[], float]]


def audit_numbers(
    engine: Engine, card: MethodCard, relaxed: Mapping[str, Outcome], check_time: Callable[[], None],
    more: Iterable[Asked] = (),
) -> Iterator[AuditNumber]:  # fmt: skip
    """Yield numbers of an engine; what cannot be computed has no value, and says why.

    Parameters
    ----------
    engine, card
        The engine that is audited, and how accurately.
    relaxed
        Relaxed crystals by name; a number whose crystals are not among them is not asked.
    check_time
        Raises where the time is over.
    more
        To be computed, too.
    """
    for quantity, of, unit, known, compute in chain(_asked(engine, card, relaxed), more):
        check_time()
        number = AuditNumber(quantity=quantity, of=of, unit=unit, known=known)
        try:
            number.value = compute()
        except AnodeflowError as error:
            number.error = error.problem
        except Exception as error:  # whatever a library may raise is a finding
            number.error = f"{type(error).__name__}: {error}"
        yield number


def _asked(engine: Engine, card: MethodCard, relaxed: Mapping[str, Outcome]) -> Iterator[Asked]:
    elements = {str(o.structure.elements[0]): o for o in relaxed.values() if len(o.structure.elements) == 1}
    for name, outcome in relaxed.items():
        amounts = outcome.structure.composition.fractional_composition
        if len(amounts) > 1 and all(str(element) in elements for element in amounts):
            known = known_formation_energy(name)
            yield "formation energy", name, "eV/atom", known, partial(_formation_energy, outcome, elements, amounts)
    for name, miller, layers in _FACES:
        if name in relaxed:
            face = f"{name}({''.join(map(str, miller))})"
            known = _known_surface_energy(name, miller)
            compute = partial(_surface_energy, engine, card, relaxed[name], name, miller, layers)
            yield "surface energy", face, "J/m²", known, compute
    for name in _MODULI:
        if name in relaxed:
            for at, modulus in enumerate(("bulk modulus", "shear modulus")):
                compute = partial(_modulus, engine, card, relaxed[name].structure, at)
                yield modulus, name, "GPa", None, compute


def energy_per_unit(relaxed: Outcome) -> float:
    """Return the energy of a formula unit of a crystal, eV."""
    return _per_atom(relaxed) * relaxed.structure.composition.reduced_composition.num_atoms


def _per_atom(outcome: Outcome) -> float:
    return (outcome.energy_ev or 0.0) / len(outcome.structure)


def _formation_energy(outcome: Outcome, elements: Mapping[str, Outcome], amounts: Composition) -> float:
    return _per_atom(outcome) - sum(share * _per_atom(elements[str(e)]) for e, share in amounts.items())


def _surface_energy(
    engine: Engine, card: MethodCard, relaxed: Outcome, name: str, miller: tuple[int, int, int], layers: int
) -> float:
    slab = build_slab(relaxed.structure, miller, layers=layers, crystal=name)
    outcome = computed(engine, Request(slab.structure, "relax", card))
    return surface_energy(outcome.energy_ev or 0.0, slab.formula_units, energy_per_unit(relaxed), slab.area_angstrom2)


def _modulus(engine: Engine, card: MethodCard, crystal: Structure, at: int) -> float:
    """Return the bulk (0) or shear modulus (1) of a polycrystal by Hill, ions relaxed."""
    operations, responses = rotations(crystal), []
    for mode in needed_modes(operations):
        up, down = (
            np.asarray(
                computed(engine, Request(strained(crystal, mode, size), "relax", card, stress=True)).arrays[
                    "stress_gpa"
                ]
            )
            for size in (_STRAIN, -_STRAIN)
        )
        responses.append((mode, _STRAIN, (up - down) / 2))
    stiffness, _ = fit_stiffness(responses, operations)
    if np.linalg.eigvalsh(stiffness)[0] <= 0:
        raise EngineError("the crystal is not stable: a stiffness is negative", "look at the model")
    return averages(stiffness)[at]["Hill"]


def computed(engine: Engine, request: Request) -> Outcome:
    """Return what an engine computes.

    Raises
    ------
    EngineError
        If it does not converge.
    """
    outcome = engine.compute(request)
    if not outcome.converged:
        raise EngineError(f"{outcome.error}", "look at the model")
    return outcome


def _known_surface_energy(crystal: str, miller: tuple[int, int, int]) -> float | None:
    """Return the published value of this project's references by PBE, J/m2; None where there is none."""
    face = f"{crystal}({''.join(map(str, miller))})"
    rows = [row for row in published_values("surface_energy") if row["system"] == face and "unit" in row]
    return float(rows[0]["value"]) if rows else None
