"""The calculations of one host: its cell without Li, Li on every site, and the binding energies that follow."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.binding import BindingEnergyDoc, Convention, lithium_references
from anodeflow.analysis.lithium_sites import SiteStart, host_result
from anodeflow.documents import CalculationDoc
from anodeflow.workflows.studies.binding.cells import (
    Cells,
    Environment,
    Host,
    build_host,
    li_sites,
    lithium_atoms,
    with_lithium,
)
from anodeflow.workflows.studies.graph import (
    BuiltCell,
    CalculationStep,
    Documents,
    HostCell,
    Layout,
    Result,
    Setup,
    Stage,
    Travelling,
    crystal_label,
)

#: Label of the metal, which is the reference and gives the numerical uncertainty.
METAL = crystal_label("Li")


class Place(Travelling):
    """One environment of one host, and what is to be said of the numbers there."""

    host: Host
    environment: Environment
    charge_mode: str
    caveats: list[str]

    @property
    def label(self) -> str:
        """Such as ``LiCl/surface``."""
        return f"{self.host.label}/{self.environment}"

    def without_result(self, model: str, why: str) -> BindingEnergyDoc:
        """Return the document of a host that has no binding energy.

        Parameters
        ----------
        model
            What its cell is.
        why
            The reason.
        """
        return BindingEnergyDoc(
            crystal=self.host.label,
            environment=self.environment,
            model=model,
            host_formula="",
            host_atoms=0,
            charge_mode=self.charge_mode,
            error=why,
        )


class References(Travelling):
    """What the energy of Li is taken against: conventions, and the labels of isolated Li of those that need it."""

    conventions: list[Convention]
    isolated: dict[Convention, str]


class EmptyHost(HostCell):
    """The host cell without Li."""

    place: Place
    cells: Cells

    @classmethod
    def of(cls, place: Place, cells: Cells) -> EmptyHost:
        """Return the cell of one environment of one host."""
        return cls(
            label=f"{place.label}/cell",
            needs=[crystal_label(place.host.label)],
            host=f"{place.label}/host",
            task="relax",
            expected_steps=1 if place.environment == "bulk" else 12,
            crystal=place.host.label,
            place=place,
            cells=cells,
        )

    def build(self, structures: list[Structure]) -> BuiltCell:
        """See :meth:`HostCell.build`."""
        return build_host(structures[0], self.place.host, self.place.environment, self.cells)


class LithiumSites(Stage):
    """Li on every site of a relaxed host.

    Parameters
    ----------
    place, cells, references
        Where, in which cells, against what.
    charge
        Of each Li, e.
    displacement_angstrom, seed
        Of every atom before a relaxation; the seed of the first site.
    """

    place: Place
    cells: Cells
    references: References
    charge: int
    displacement_angstrom: float
    seed: int

    @classmethod
    def of(cls, host: EmptyHost, references: References, **options: Any) -> LithiumSites:
        """Return the Li sites of one host.

        Parameters
        ----------
        host
            Its cell without Li.
        references
            What the energy of Li is taken against.
        **options
            ``charge``, ``displacement_angstrom`` and ``seed``.
        """
        return cls(
            label=f"{host.place.label}/sites",
            needs=[METAL, *host.needs, host.label, host.host],
            also=list(references.isolated.values()),
            place=host.place,
            cells=host.cells,
            references=references,
            **options,
        )

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        _, crystal, built, empty = needed
        host, environment = self.place.host, self.place.environment
        sites = li_sites(crystal, empty, host, environment, self.cells)
        steps = [
            CalculationStep(
                label=f"{self.place.label}/{site.label}",
                task="relax",
                structure=with_lithium(empty, site, host, environment),
                expected_steps=40,
                crystal=host.label,
                charge=self.charge * lithium_atoms(host, environment),
                displacement_angstrom=self.displacement_angstrom,
                seed=self.seed + number,
            )
            for number, site in enumerate(sites)
        ]
        result = _HostResult(
            label=f"{self.place.label}/result",
            of=[METAL, self.needs[-1], *(step.label for step in steps), *self.also],
            place=self.place,
            empty=self.needs[-1],
            references=self.references,
            model=built.model,
            face=built.face,
            starts=[SiteStart(**site.as_dict(), seed=step.seed) for site, step in zip(sites, steps, strict=True)],
        )
        return Layout(steps, [result])

    def without_result(self, why: str, docs: list[Any]) -> BindingEnergyDoc:
        """See :meth:`Stage.without_result`."""
        built: BuiltCell | None = docs[2]
        return self.place.without_result("not built" if built is None else built.model, why)


class _HostResult(Result):
    """The binding energies of one host.

    Parameters
    ----------
    place, references
        Where, against what.
    empty
        Label of the host without Li.
    model, face
        What its cell is.
    starts
        Where Li was put.
    """

    place: Place
    references: References
    empty: str
    model: str
    face: str | None
    starts: list[SiteStart]

    def document(self, docs: Documents) -> BindingEnergyDoc:
        """See :meth:`Result.document`; a reference without its isolated Li is left out, and that is said."""
        place, host = self.place, self.place.host
        atoms: dict[Convention, CalculationDoc] = {
            convention: docs[label]
            for convention, label in self.references.isolated.items()
            if docs[label] is not None and docs[label].converged
        }
        lost = [convention for convention in self.references.isolated if convention not in atoms]
        conventions = [convention for convention in self.references.conventions if convention not in lost]
        caveats = [*place.caveats, *(f"no {c} reference: its isolated Li was not computed" for c in lost)]
        if not conventions:
            return place.without_result(self.model, caveats[-1])
        return host_result(
            pristine=docs[self.empty],
            with_li=[docs[f"{place.label}/{start.label}"] for start in self.starts],
            starts=self.starts,
            references=lithium_references(docs[METAL], conventions, atoms),
            metal=docs[METAL],
            crystal=host.label,
            environment=place.environment,
            description=self.model,
            face=self.face,
            charge_mode=place.charge_mode,
            caveats=caveats,
            n_li=lithium_atoms(host, place.environment),
            dielectric_constant=host.dielectric_constant,
        )
