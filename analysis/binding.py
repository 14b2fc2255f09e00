"""Li binding energies, their reference conventions, and the descriptor dE.

E_int = E_AB - E_A - E_B, in eV per Li, negative is bound (A: host, B: Li); dE(X, Y) = E_int(Y) - E_int(X)
for anode X and interphase Y (Cui et al., Chem. Sci. 2026, doi:10.1039/D6SC03781J).

Li is in one of several states (:mod:`anodeflow.lithium_states`), and each has its own AB and A:

- ``interstitial``, ``adsorbed``: AB is the host with Li, A the host.
- ``substitution``: Li takes the place of an atom M, which returns to its reservoir: E_AB + mu_M - E_A - E_B.
- ``held``: AB is the host, A the host without one of its Li: minus the vacancy formation energy.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from anodeflow.analysis.binding_rows import BindingConvergence, VariedSetting
from anodeflow.analysis.cell_beside import CellBeside
from anodeflow.analysis.comparable import check_dispersions, check_functionals
from anodeflow.analysis.reference_values import reference_value
from anodeflow.analysis.reservoirs import Reservoir
from anodeflow.documents import CalculationDoc, CardRecord, Dispersion, Document, EngineRecord, StudyDoc
from anodeflow.errors import InputError, ReferenceMismatchError
from anodeflow.lithium_states import Kind, State, kind_of, state_before_states
from anodeflow.units import COULOMB_EV_ANGSTROM

Convention = Literal["bulk_metal", "neutral_atom", "neutral_atom_nonspin", "ion"]
_CONVENTIONS: tuple[Convention, ...] = ("bulk_metal", "neutral_atom", "neutral_atom_nonspin", "ion")

# Functional of the published cohesive energy and spin polarisation of Li.
_PUBLISHED_FUNCTIONAL = "PBE"

# Madelung constant of a point charge in a cubic box with neutralising background (Makov & Payne 1995).
_MADELUNG_CUBIC = 2.837297

#: Published values that the metal of an engine without free atoms is shifted by, by convention.
PUBLISHED_SHIFTS: dict[str, tuple[str, ...]] = {
    "neutral_atom": ("li_cohesive_energy",),
    "neutral_atom_nonspin": ("li_cohesive_energy", "li_atom_spin_polarisation_energy"),
}

CONVENTION_TEXT: dict[str, str] = {
    "bulk_metal": "bcc Li metal, per atom",
    "neutral_atom": "isolated spin-polarised Li atom",
    "neutral_atom_nonspin": "isolated Li atom without spin polarisation (unphysical, common)",
    "ion": "isolated Li+ ion",
}


class LithiumReference(Document):
    """The energy of one Li that a binding energy is measured against."""

    convention: Convention
    energy_ev: float = Field(description="eV per Li")
    charge: int = Field(0, description="charge of the reference particle, e")
    box_angstrom: float | None = Field(None, description="edge of the box of an isolated atom or ion")
    rests_on: list[str] = Field(default_factory=list, description="fingerprints of calculations")
    sources: list[str] = Field(default_factory=list, description="values taken from elsewhere")
    engine_hash: str
    card_hash: str


class SiteResult(Document):
    """One Li site of one host, relaxed."""

    label: str
    kind: str
    multiplicity: int
    frac_coords_start: tuple[float, float, float]
    frac_coords_end: tuple[float, float, float] | None = None
    coordination_end: str | None = Field(None, description="neighbours of the relaxed Li")
    li_displacement_angstrom: float | None = None
    host_displacement_angstrom: float | None = Field(None, description="largest of any host atom")
    removed: str | None = Field(None, description="element of the atom that left the host")
    status: Literal["converged", "unconverged", "failed"]
    binding_energy_ev: dict[str, float] = Field(default_factory=dict, description="per convention, eV per Li")
    total_energy_ev: float | None = Field(
        None, description="E_AB of the cell, eV; of a held Li that of the cell without it"
    )
    same_minimum_as: str | None = Field(None, description="label of an earlier site with the same energy")
    calculation: str | None = Field(None, description="fingerprint")
    ionic_steps: int = 0
    notes: list[str] = Field(default_factory=list)
    work_function_ev: float | None = Field(None, description="of the slab with Li, over the face that carries it")
    ion_binding_energy_ev: float | None = Field(
        None, description="E_int(Li+) = E_int(Li, free atom) + W - IE of the neutral slab, eV per Li"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("removed", "work_function_ev", "ion_binding_energy_ev")


class BindingEnergyDoc(Document):
    """The binding energy of Li in one state in or on one host, with all it rests on."""

    doc_type: Literal["BindingEnergyDoc"] = Field("BindingEnergyDoc", description="class of the document")
    crystal: str = Field(description="the host")
    environment: Literal["bulk", "surface"] = Field(description="in a crystal, or on a surface")
    state: State | None = Field(None, description="where Li is; None in documents of before: see `li_state`")
    model: str = Field(description="the cell: supercell matrix, or Miller index, termination and layers")
    face: str | None = Field(None, description="Miller index of a surface, e.g. '(400)'")
    host_formula: str = Field(description="of the cell without the added Li")
    host_atoms: int = Field(description="atoms of the cell without the added Li")
    n_li: int = Field(1, description="Li that is added, or taken out")
    binding_energy_ev: dict[str, float] = Field(
        default_factory=dict, description="lowest site, per convention, eV per Li; negative is bound"
    )
    numerical_uncertainty_ev: float | None = Field(
        None,
        description="what the relaxations of AB, A and the reference may still gain, per Li: residual forces and "
        "plateaus (analysis/relaxation_uncertainty.py); says nothing of the error of the method",
    )
    best_site: str | None = Field(None, description="label of the lowest site")
    sites: list[SiteResult] = Field(default_factory=list, description="every inequivalent site, lowest first")
    references: list[LithiumReference] = Field(default_factory=list, description="E_Li in every convention")
    reservoirs: list[Reservoir] | None = Field(None, description="where the atoms went that Li replaces")
    charges: dict[str, int] = Field(default_factory=dict, description="q_AB, q_A, q_B per Li, in e")
    image_charge_correction_ev: float = Field(0.0, description="added to E_AB of a charged bulk cell")
    charge_mode: str = Field("neutral", description="as text; says so if an ion was asked for and not run")
    work_function_ev: float | None = Field(None, description="of the slab with Li on its lowest site")
    ion_binding_energy_ev: float | None = Field(None, description="E_int(Li+) of the lowest site by its work function")
    bare_work_function_ev: float | None = Field(None, description="of a metal's slab without the added Li")
    varied: VariedSetting | None = Field(None, description="setting of a convergence row; None: those of the study")
    convergence_spread_ev: dict[str, float] | None = Field(
        None, description="by varied setting, how far E_int of the leading convention moves, eV per Li"
    )
    total_error_ev: float | None = Field(
        None, description="numerical_uncertainty_ev and all of convergence_spread_ev, added"
    )
    began_with: CellBeside | None = Field(
        None, description="of a host crystal whose cell was relaxed with dispersion: where it began"
    )
    cell_against_crystal_ev: float | None = Field(
        None, description="of a crystal by electrons: its cell without Li minus as many atoms of its unit cell"
    )
    host_calculation: str | None = Field(None, description="fingerprint of the host without the added Li")
    image_distance_angstrom: float | None = Field(None, description="shortest Li-Li image distance")
    engine: EngineRecord | None = Field(None, description="what computed")
    card: CardRecord | None = Field(None, description="how accurately")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no result; none where there is one")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (
        "state", "reservoirs", "work_function_ev", "ion_binding_energy_ev", "bare_work_function_ev", "varied",
        "convergence_spread_ev", "total_error_ev", "began_with", "cell_against_crystal_ev",
    )  # fmt: skip

    @property
    def li_state(self) -> State:
        """Where Li is; documents of before have an added Li, in the crystal or on the surface."""
        return self.state or state_before_states(self.environment)

    @property
    def kind(self) -> Kind:
        """Which question the state answers: only results of one kind are subtracted."""
        return kind_of(self.li_state)

    @property
    def where(self) -> str:
        """Host, environment and state, such as ``LiAl/bulk, held``; on a surface there is but one state."""
        place = f"{self.crystal}/{self.environment}"
        return place if self.li_state == "adsorbed" else f"{place}, {self.li_state}"

    @property
    def converged(self) -> bool:
        """Whether there is a binding energy."""
        return bool(self.binding_energy_ev)


class DescriptorMatrix(Document):
    """dE of every anode/interphase pair, eV; positive: Li is bound more strongly by the anode."""

    environment: Literal["bulk", "surface"]
    convention: Convention
    anodes: list[str]
    interphases: list[str]
    d_e_ev: list[list[float | None]] = Field(description="rows: anodes; columns: interphases")
    refused: list[str] = Field(default_factory=list, description="pairs without a value, and why")
    kind: Kind | None = Field(None, description="of the states; None in documents of before: added")
    states: dict[str, State] | None = Field(None, description="the state that each host's number is of")
    d_e_ion_ev: list[list[float | None]] | None = Field(
        None, description="dE(Li+) = dE + W(Y) - W(X) of the same pairs; None where no slab has its work function"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("kind", "states", "d_e_ion_ev")


class PackingSpread(Document):
    """dE of anodes and one crystal in several packings: how far it depends on a model."""

    crystal: str = Field(description="the interphase")
    packings: list[str] = Field(description="names of the hosts")
    environment: Literal["bulk", "surface"] = Field(description="where Li is")
    kind: Kind = Field(description="of the states")
    convention: Convention = Field(description="what E_Li is")
    d_e_ev: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="by anode, then by packing, eV; pairs without a value are left out"
    )

    def mean_ev(self, anode: str) -> float:
        """Return the mean over the packings."""
        values = self.d_e_ev[anode].values()
        return sum(values) / len(values)

    def range_ev(self, anode: str) -> tuple[float, float]:
        """Return smallest and largest value."""
        values = self.d_e_ev[anode].values()
        return min(values), max(values)


class BindingStudyDoc(StudyDoc):
    """The end of a binding-energy study."""

    doc_type: Literal["BindingStudyDoc"] = Field("BindingStudyDoc", description="class of the document")
    hosts: list[BindingEnergyDoc] = Field(description="a result for each host, environment and state")
    descriptors: list[DescriptorMatrix] = Field(description="dE of anodes and interphases")
    conventions: list[Convention] = Field(min_length=1, description="what E_Li is, the leading one first")
    packings: list[PackingSpread] | None = Field(None, description="dE over the packings of packing models")
    convergence: list[BindingConvergence] | None = Field(None, description="convergence rows of `vary`")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (*StudyDoc.LEFT_OUT_IF_NONE, "packings", "convergence")

    @property
    def complete(self) -> bool:
        """Whether every host and every convergence row has a binding energy."""
        rows = [row for convergence in self.convergence or [] for row in convergence.rows]
        return all(host.converged for host in self.hosts) and not any(row.error for row in rows)


def makov_payne_ev(charge: int, box_angstrom: float) -> float:
    """Return the energy to add to a charged particle in a cubic periodic box, leading order.

    q^2 alpha / (2 L) e^2/(4 pi eps0): 20.43/L eV for one charge
    (Makov & Payne, Phys. Rev. B 51, 4014 (1995), doi:10.1103/PhysRevB.51.4014).

    Parameters
    ----------
    charge
        Charge of the particle, e.
    box_angstrom
        Edge of the cubic box, angstrom.
    """
    if box_angstrom <= 0:
        raise InputError(f"box edge {box_angstrom} angstrom is not positive", "give the edge of the cubic box")
    return charge**2 * _MADELUNG_CUBIC * COULOMB_EV_ANGSTROM / (2 * box_angstrom)


def check_charges(q_ab: int, q_a: int, q_b: int, n_li: int = 1) -> None:
    """Refuse an energy difference whose charges do not balance.

    Parameters
    ----------
    q_ab, q_a, q_b
        Charges of the cell with Li, of the host and of the Li reference, e.
    n_li
        Li atoms in the cell with Li beyond its host.

    Raises
    ------
    ReferenceMismatchError
        If q_AB differs from q_A + n_Li q_B.
    """
    if q_ab != q_a + n_li * q_b:
        raise ReferenceMismatchError(
            f"charges do not balance: q_AB = {q_ab:+d}, q_A + n q_B = {q_a + n_li * q_b:+d}",
            "give AB, A and Li charges that add up; a neutral AB and A need a neutral Li reference",
        )


def binding_energy(e_ab_ev: float, e_a_ev: float, e_li_ev: float, n_li: int = 1) -> float:
    """Return E_int = (E_AB - E_A - n E_Li)/n, in eV per Li; negative is bound (doi:10.1039/D6SC03781J).

    Parameters
    ----------
    e_ab_ev, e_a_ev, e_li_ev
        Energies of the cell with Li, of the host, and of one Li of the reference, eV.
    n_li
        Li atoms in the cell with Li beyond its host.

    Returns
    -------
    float
        eV per Li.

    Raises
    ------
    InputError
        If n_li is not positive or an energy is not finite.
    """
    if n_li < 1:
        raise InputError(f"n_li = {n_li}", "a binding energy needs at least one Li")
    values = (e_ab_ev, e_a_ev, e_li_ev)
    if not all(math.isfinite(v) for v in values):
        raise InputError(f"energies {values} eV are not all finite", "look at the calculations they come from")
    return (e_ab_ev - e_a_ev - n_li * e_li_ev) / n_li


# long: more than half of it is documentation
def lithium_references(
    metal: CalculationDoc,
    conventions: list[Convention],
    atoms: dict[Convention, CalculationDoc] | None = None,
    *,
    other_card: bool = False,
) -> list[LithiumReference]:
    """Make the Li references of a study.

    Parameters
    ----------
    metal
        Relaxed bcc Li of the same engine and card.
    conventions
        Which ones are wanted.
    atoms
        Isolated-atom (or ion) calculations of the same engine and card. Where an engine has none (a
        potential knows no spin and was not trained on free atoms), the neutral-atom references are the
        metal plus the published cohesive energy, and say so in ``sources``.
    other_card
        Whether metal and atoms may have different cards, in a study with a card for each role.

    Returns
    -------
    list of LithiumReference
        One for each convention.

    Raises
    ------
    ConvergenceError
        If the metal did not converge.
    ReferenceMismatchError
        If the ion is asked for and was not computed, or settings differ.
    """
    atoms = atoms or {}
    mu = metal.energy_per_atom_ev
    shifts: dict[str, tuple[float, list[str]]] = {"bulk_metal": (0.0, [])}
    for name, published in PUBLISHED_SHIFTS.items():
        values = [reference_value(value) for value in published]
        shifts[name] = (sum(value.value for value in values), [value.cite() for value in values])
    references = []
    for convention in conventions:
        common = {"convention": convention, "engine_hash": metal.engine.hash, "card_hash": metal.card.hash}
        if convention in atoms:
            doc = atoms[convention]
            check_functionals({metal.label: metal.engine, doc.label: doc.engine})
            check_dispersions({metal.label: metal.card, doc.label: doc.card})
            same_card = other_card or doc.card.family == metal.card.family
            common["card_hash"] = doc.card.family if other_card else metal.card.hash
            if doc.engine.hash != metal.engine.hash or not same_card:
                raise ReferenceMismatchError(
                    f"the {convention} reference was computed with {doc.engine.name}/{doc.card.name}, "
                    f"the metal with {metal.engine.name}/{metal.card.name}",
                    "compute both with the same engine and card",
                )
            box = min(doc.structure.lattice.abc)
            energy = doc.converged_energy_ev() / len(doc.structure) + makov_payne_ev(doc.charge, box)
            references.append(
                LithiumReference(
                    **common,
                    energy_ev=energy,
                    charge=doc.charge,
                    box_angstrom=box,
                    rests_on=[doc.fingerprint],
                )
            )
        elif convention in shifts:
            shift, sources = shifts[convention]
            if sources:
                check_published_atom(metal.engine, convention, metal.card.dispersion)
            references.append(
                LithiumReference(**common, energy_ev=mu + shift, rests_on=[metal.fingerprint], sources=list(sources))
            )
        else:
            raise ReferenceMismatchError(
                f"reference '{convention}' needs a calculation of Li+ with engine '{metal.engine.name}'",
                "use an engine that holds a charge, or the references bulk_metal and neutral_atom",
            )
    return references


def check_published_atom(engine: EngineRecord, convention: Convention, dispersion: Dispersion | None = None) -> None:
    """Refuse the published difference between metal and free atom, which is PBE's, with energies of anything else.

    Parameters
    ----------
    engine
        Whose energies.
    convention
        The Li reference.
    dispersion
        The correction in them.

    Raises
    ------
    ReferenceMismatchError
        If the engine's energies are known to be of another functional, or hold a correction for dispersion.
    """
    if dispersion is not None:
        raise ReferenceMismatchError(
            f"reference '{convention}' is bcc Li and a published difference of {_PUBLISHED_FUNCTIONAL}, without "
            f"dispersion; the card has {dispersion}",
            "set 'references: [bulk_metal]'",
        )
    functional = engine.energies_of
    if functional not in (None, _PUBLISHED_FUNCTIONAL):
        raise ReferenceMismatchError(
            f"reference '{convention}' is bcc Li and a published difference of {_PUBLISHED_FUNCTIONAL}; engine "
            f"'{engine.name}' is of {functional}",
            "set 'references: [bulk_metal]'",
        )


def binding_energies(
    ab: CalculationDoc,
    a: CalculationDoc,
    references: list[LithiumReference],
    n_li: int = 1,
    returned_ev: float = 0.0,
    *,
    other_card: bool = False,
) -> dict[str, float]:
    """Return E_int of one AB calculation for every reference whose charge balances.

    Parameters
    ----------
    ab
        The cell with Li.
    a
        The host.
    references
        Of Li.
    n_li
        Li atoms in the cell with Li beyond its host.
    returned_ev
        Energy of the atoms that Li replaced, in their reservoirs.
    other_card
        Whether references may have another card than the cells, in a study with a card for each role.

    Returns
    -------
    dict
        By convention, eV per Li.

    Raises
    ------
    ConvergenceError
        If AB or A did not converge.
    ReferenceMismatchError
        If engine, card or charges do not fit together.
    """
    check_functionals({d.label: d.engine for d in (ab, a)})
    check_dispersions({d.label: d.card for d in (ab, a)})
    keys = {(d.engine.hash, d.card.hash) for d in (ab, a)}
    keys |= {(r.engine_hash, a.card.hash if other_card else r.card_hash) for r in references}
    if len(keys) > 1:
        raise ReferenceMismatchError(
            f"'{ab.label}', '{a.label}' and the Li reference rest on different engines or cards: {sorted(keys)}",
            "compute all three with one engine and one card",
        )
    energies: dict[str, float] = {}
    for ref in references:
        check_charges(ab.charge, a.charge, ref.charge, n_li)
        energies[ref.convention] = binding_energy(
            ab.converged_energy_ev() + returned_ev, a.converged_energy_ev(), ref.energy_ev, n_li
        )
    return energies
