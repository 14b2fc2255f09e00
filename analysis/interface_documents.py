"""Documents of an interface energy: its cells, its fit, what it is compared with and how sure it is."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from anodeflow.analysis.fits import Interval, LineFit
from anodeflow.analysis.interface_registries import ContactDoc, InterfaceRegistriesDoc
from anodeflow.analysis.planes import PlaneFit
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import CalculationDoc, CardRecord, Document, EngineRecord


class _GrownDocument(Document):
    """A document with fields that documents of before do not have: they are left out where they say nothing."""

    ADDED: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {k: v for k, v in content.items() if k not in self.ADDED or v not in (None, [])}


class InterfaceMember(Document):
    """One cell of a series: its calculation and what the builder of the interface knew."""

    calculation: CalculationDoc
    n_film: float = Field(description="formula units of the film in the whole cell")
    n_substrate: float = Field(description="formula units of the substrate in the whole cell")
    area_angstrom2: float = Field(description="of one contact")
    film_thickness_angstrom: float | None = None
    substrate_thickness_angstrom: float | None = None
    equivalent_contacts: bool = Field(default=True, description="a symmetry operation exchanges the two contacts")
    film_layers: int | None = Field(default=None, description="planes of the film")
    substrate_layers: int | None = Field(default=None, description="planes of the substrate")
    contacts: list[ContactDoc] = Field(default_factory=list, description="of the relaxed cell")


class InterfacePoint(_GrownDocument):
    """One cell in the result."""

    ADDED: ClassVar = ("film_layers", "substrate_layers", "contacts")

    label: str
    calculation: str = Field(description="fingerprint")
    n_film: float
    n_substrate: float
    atoms: int
    film_thickness_angstrom: float | None = None
    energy_ev: float
    gamma_j_per_m2: float = Field(description="strain included; mean of the two contacts")
    film_layers: int | None = None
    substrate_layers: int | None = None
    contacts: list[ContactDoc] = Field(default_factory=list)


class StrainCheck(Document):
    """The strain energy of the fit beside that of strained bulk."""

    strained_bulk_ev_per_unit: float = Field(description="energy of the crystal strained as in the cell")
    bulk_ev_per_unit: float = Field(description="energy of the crystal as it is")
    expected_ev_per_unit: float = Field(description="strained minus unstrained bulk")
    fitted_ev_per_unit: float = Field(description="2A sigma")
    difference_ev_per_unit: float = Field(description="fitted minus expected")
    agrees: bool = Field(description="expected lies in the confidence interval of fitted")
    calculation: str = Field(description="fingerprint of the strained crystal")
    text: str = Field(description="the check as text")


class PublishedComparison(Document):
    """A published gamma(A) - gamma(A/B) and ours."""

    paper: str
    system: str
    quantity: str
    published_j_per_m2: float
    ours_j_per_m2: float
    implied_gamma_j_per_m2: float = Field(description="interface energy: our gamma(A) minus the published difference")
    surface: str = Field(description="A, whose gamma is ours")
    source: str


class UncertaintyPart(Document):
    """One reason why gamma is not known better."""

    name: Literal["fit", "slope", "thickness", "registry"]
    half_width_j_per_m2: float | None = Field(default=None, description="None: not known")
    text: str


class SubstrateConvergence(Document):
    """Whether gamma still changes with the thickness of the substrate."""

    converged: bool | None = Field(description="None: one thickness, so it cannot be told")
    layers: list[int] = Field(description="planes compared, thinnest first")
    change_j_per_m2: float | None = Field(default=None, description="from the second thickest to the thickest")
    text: str = Field(description="the judgement as text")


class InterfaceEnergyDoc(_GrownDocument):
    """The energy of one interface, with all it rests on."""

    ADDED: ClassVar = (
        "registries", "contacts", "plane", "sigma_substrate_j_per_m2_per_unit", "substrate_excess_ev_per_unit",
        "substrate_convergence", "uncertainty", "uncertainty_j_per_m2", "references_aligned",
        "film_alignment_ev_per_unit", "substrate_alignment_ev_per_unit", "gamma_film_strained_j_per_m2",
        "work_of_adhesion_unstrained_j_per_m2", "film_strained_surface", "other_cards",
    )  # fmt: skip

    doc_type: Literal["InterfaceEnergyDoc"] = Field("InterfaceEnergyDoc", description="class of the document")
    film: str = Field(description="face of the strained side")
    substrate: str = Field(description="face of the side that keeps its lattice")
    contact: str | None = Field(default=None, description="faces and orientation, e.g. 'LiCl(100) || Li(100)'")
    gamma_j_per_m2: float | None = Field(default=None, description="intercept; None if the two contacts differ")
    gamma_ci_j_per_m2: Interval | None = Field(default=None, description="scatter about the line only")
    contacts_equivalent: bool = Field(True, description="the two contacts of a cell are the same")
    gamma_sum_j_per_m2: float | None = Field(default=None, description="of both contacts: twice the intercept")
    gamma_sum_ci_j_per_m2: Interval | None = Field(None, description="its confidence interval")
    sigma_j_per_m2_per_unit: float | None = Field(default=None, description="slope, per film unit")
    sigma_ci_j_per_m2_per_unit: Interval | None = Field(None, description="its confidence interval")
    strain_energy_ev_per_unit: float | None = Field(default=None, description="eps = 2A sigma, eV per film unit")
    strain_energy_ci_ev_per_unit: Interval | None = Field(None, description="its confidence interval")
    strain_check: StrainCheck | None = Field(default=None, description="None: no strained bulk was computed")
    strain_percent: float | None = Field(default=None, description="largest in-plane strain of the film")
    confidence_level: float = Field(0.95, description="of the intervals")
    fit: LineFit | None = Field(default=None, description="gamma(n) in J/m2 against film units")
    members: list[InterfacePoint] = Field(default_factory=list, description="thinnest film first")
    area_angstrom2: float | None = Field(None, description="of the cell in the plane, Å²")
    film_bulk_ev_per_unit: float | None = Field(None, description="energy of the film's crystal, eV per formula unit")
    substrate_bulk_ev_per_unit: float | None = Field(
        None, description="energy of the substrate's crystal, eV per formula unit"
    )
    gamma_film_j_per_m2: float | None = Field(default=None, description="surface energy of the film material")
    gamma_substrate_j_per_m2: float | None = Field(default=None, description="surface energy of the substrate material")
    work_of_adhesion_j_per_m2: float | None = Field(
        default=None, description="positive: they adhere; film as strained in the cell, if known"
    )
    work_of_adhesion_half_width_j_per_m2: float | None = Field(default=None, description="the intervals in quadrature")
    film_minus_interface_j_per_m2: float | None = Field(default=None, description="gamma(film) - gamma_AB")
    substrate_minus_interface_j_per_m2: float | None = Field(default=None, description="gamma(substrate) - gamma_AB")
    published: list[PublishedComparison] = Field(default_factory=list, description="published energies beside ours")
    shift_per_mev_j_per_m2: float | None = Field(
        default=None, description="change of the intercept if the substrate's bulk energy moves by 1 meV per unit"
    )
    references: list[str] = Field(default_factory=list, description="fingerprints of the bulk calculations")
    registries: InterfaceRegistriesDoc | None = Field(default=None, description="None: the registry was given")
    contacts: list[ContactDoc] = Field(default_factory=list, description="of the thickest cell, relaxed")
    plane: PlaneFit | None = Field(default=None, description="gamma(n, m), where both thicknesses vary")
    sigma_substrate_j_per_m2_per_unit: float | None = Field(default=None, description="slope, per substrate unit")
    substrate_excess_ev_per_unit: float | None = Field(default=None, description="2A times that slope; 0 if converged")
    substrate_convergence: SubstrateConvergence | None = Field(
        None, description="whether gamma still changes with the thickness of the substrate"
    )
    uncertainty: list[UncertaintyPart] = Field(default_factory=list, description="its parts, each by itself")
    uncertainty_j_per_m2: float | None = Field(default=None, description="known parts in quadrature, half a width")
    references_aligned: bool | None = Field(
        default=None, description="the crystals' energies are of cells with the plane and mesh of the interface"
    )
    film_alignment_ev_per_unit: float | None = Field(default=None, description="aligned minus relaxed crystal")
    substrate_alignment_ev_per_unit: float | None = Field(default=None, description="aligned minus relaxed crystal")
    gamma_film_strained_j_per_m2: float | None = Field(
        default=None, description="surface energy of the film strained as in the cell"
    )
    film_strained_surface: SurfaceEnergyDoc | None = Field(default=None, description="what that rests on")
    work_of_adhesion_unstrained_j_per_m2: float | None = Field(
        default=None, description="with the surface energy of the unstrained film"
    )
    other_cards: str | None = Field(
        default=None, description="how the cards of crystals or free surfaces differ from that of the cells, as text"
    )
    engine: EngineRecord | None = Field(None, description="what computed")
    card: CardRecord | None = Field(None, description="how accurately")
    notes: list[str] = Field(default_factory=list, description="what else is to be known")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no result; none where there is one")

    @property
    def converged(self) -> bool:
        """Whether there is an energy."""
        return self.gamma_sum_j_per_m2 is not None
