"""Binding energies by real DFT that the package ships (``dft_binding.yaml``), beside those of a potential."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

from anodeflow.analysis.binding import BindingStudyDoc
from anodeflow.files import read_package_yaml

# Cells whose images are this much nearer or farther are not set beside each other.
_SAME_SIZE = 0.1
_FUNCTIONAL = "PBE"


class _DftBinding(BaseModel):
    """E_int of one Li site against bcc Li, and the archive that it is from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crystal: str
    environment: str
    face: str | None
    state: str
    site: str
    host_atoms: int
    image_distance_angstrom: float
    binding_energy_ev: float
    engine: str
    archive: str


@dataclass(frozen=True)
class Beside:
    """One site of a study, and the same by DFT.

    Parameters
    ----------
    dft
        What is shipped.
    binding_energy_ev, host_atoms
        Of the study, against bcc Li, and of its cell.
    """

    dft: _DftBinding
    binding_energy_ev: float
    host_atoms: int

    @property
    def off_ev(self) -> float:
        """How far the study is from DFT, eV per Li."""
        return self.binding_energy_ev - self.dft.binding_energy_ev


@cache
def dft_bindings() -> tuple[_DftBinding, ...]:
    """Return what is shipped."""
    text = files("anodeflow.analysis").joinpath("dft_binding.yaml").read_text("utf-8")
    data: dict[str, Any] = read_package_yaml(text)
    return tuple(_DftBinding.model_validate(entry) for entry in data["binding"])


def beside_dft(study: BindingStudyDoc) -> list[Beside]:
    """Return every site of a study that DFT has in a cell of the same size; none with dispersion or another functional.

    Parameters
    ----------
    study
        Of neutral Li; any engine but that of the shipped values.
    """
    if study.engine.energies_of != _FUNCTIONAL or study.card.dispersion is not None:
        return []
    beside = []
    for known in dft_bindings():
        for host in study.hosts:
            if known.engine == study.engine.name or host.charge_mode != "neutral":
                continue
            if any(reservoir.phase != reservoir.element for reservoir in host.reservoirs or []):
                continue  # another mu of the atom that Li replaces: those of the archives return to their metal
            of_host = (host.crystal, host.environment, host.face, host.li_state)
            distance, of_dft = host.image_distance_angstrom, known.image_distance_angstrom
            same_size = distance is not None and abs(distance / of_dft - 1) <= _SAME_SIZE
            if of_host != (known.crystal, known.environment, known.face, known.state) or not same_size:
                continue
            beside += [
                Beside(known, site.binding_energy_ev["bulk_metal"], host.host_atoms)
                for site in host.sites
                if site.label == known.site and "bulk_metal" in site.binding_energy_ev
            ]
    return beside
