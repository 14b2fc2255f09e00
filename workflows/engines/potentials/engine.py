"""Machine-learning potentials in this process: the engine that needs no licence and no network."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError, out_of_memory
from anodeflow.files import file_sha256, json_sha256
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import d3_of, missing_package
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, DynamicsState, Monitor, Outcome, Request
from anodeflow.workflows.engines.potentials.models import POTENTIALS, Training, training_of
from anodeflow.workflows.engines.potentials.tuned import tuned_record

KIND = "machine-learning potential"
_MODE = "a potential of {} energy surface: cutoff, k-points, smearing, spin and charge of a card do not apply"
# Between the path of a multi-fidelity model and the fidelity that is asked of it.
_BEFORE_MODAL = "@"


class PotentialEngine(Engine):
    """One machine-learning potential.

    Parameters
    ----------
    name
        One whose weights come inside their wheel, such as ``sevennet-0`` (default) or ``chgnet``; or ``family:PATH``
        with family ``sevennet``, ``chgnet``, ``mace`` or ``nep`` and a model file of the user's; or
        ``sevennet:PATH@MODAL`` for one fidelity of a multi-fidelity model.
    """

    capabilities = Capabilities(md=True, neb=True, dispersion=True)

    def __init__(self, name: str) -> None:
        self.name = name
        family, _, path = name.partition(":")
        self._potential = POTENTIALS[family]
        self._path, self._modal = path, self._potential.modal
        if family == "sevennet" and not Path(path).expanduser().is_file() and _BEFORE_MODAL in path:
            self._path, _, self._modal = path.rpartition(_BEFORE_MODAL)
        self._calculator: Any = None

    @property
    def package(self) -> str:
        """The package that loads the model, and trains it."""
        return self._potential.package

    @cached_property
    def model_path(self) -> Path:
        """The file with the weights."""
        spec = importlib.util.find_spec(self._potential.package)
        if spec is None or not spec.submodule_search_locations:
            hint = (
                f"pip install 'anodeflow[{self._potential.extra}]'"
                if self._potential.bundled
                else f"install the package that provides '{self._potential.package}'"
            )
            raise EngineError(
                f"engine '{self.name}' needs the Python package '{self._potential.package}', which is not installed",
                hint,
            )
        if self._path and self._potential.bundled is not None and not self._potential.by_path:
            family = self.name.partition(":")[0]
            raise EngineError(f"engine '{self.name}': '{family}' has its model inside", f"write '{family}' alone")
        if self._potential.bundled is None or self._path:
            if not self._path:
                family = self.name.partition(":")[0]
                raise EngineError(f"engine '{self.name}' names no model file", f"write '{family}:PATH_TO_MODEL'")
            path = Path(self._path).expanduser()
        else:
            path = Path(next(iter(spec.submodule_search_locations))) / self._potential.bundled
        if not path.is_file():
            raise EngineError(
                f"engine '{self.name}': no model file '{path}'",
                "check the path" if self._path else f"reinstall the package '{self._potential.package}'",
            )
        return path

    @cached_property
    def _sha256(self) -> str:
        path = self.model_path
        try:
            digests = [file_sha256(file) for file in (path, *(path.parent / name for name in self._potential.beside))]
            if len(digests) == 1 and self._modal is None:
                return digests[0][:16]
            return json_sha256([*digests, self._modal])[:16]
        except OSError as error:
            raise EngineError(f"cannot read the model '{self.model_path}': {error}", "check the file") from None

    def device(self) -> str:
        """``ANODEFLOW_DEVICE`` if set, else a CUDA device if there is one, else the processor."""
        asked = os.environ.get("ANODEFLOW_DEVICE", "auto")
        if asked != "auto":
            return asked
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record`."""
        path, training = self.model_path, training_of(self._potential, self._modal)
        licence = self._potential.licence if self._potential.bundled else None
        if self._path:
            tuned = tuned_record(path)
            licence = None if tuned is None else tuned.licence
            if tuned is not None:
                training = Training(tuned.functional, tuned.training_data)
            elif self._potential.bundled is not None:
                training = Training()
        try:
            number = version(self._potential.package)
        except PackageNotFoundError:
            number = "unknown"
        return EngineRecord(
            name=self.name,
            kind=KIND,
            version=f"{self._potential.package} {number}",
            model=path.name if self._modal is None else f"{path.name}, {self._modal}",
            hash=self._sha256,
            mode=_MODE.format(f"the {training.functional}" if training.functional else "an unstated"),
            device=self.device() if "torch" in sys.modules else os.environ.get("ANODEFLOW_DEVICE", "auto"),
            functional=training.functional,
            training_data=training.data,
            licence=licence,
        )

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`: the package of the potential, or its model."""
        try:
            self.model_path  # noqa: B018 - it is looked for
        except EngineError as error:
            return [str(error), *missing_package(card)]
        return missing_package(card)

    def record_with(self, card: MethodCard, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record_with`; it says what is added to the potential."""
        record, correction = self.record(elements), d3_of(card)
        if correction is None:
            return record
        return record.model_copy(
            update={
                "mode": f"{record.mode}; {correction.name} ({correction.source}) is added, which it has not learned"
            }
        )

    def check_dispersion(self, card: MethodCard) -> None:
        """See :meth:`Engine.check_dispersion`; the functional is that of the potential, and has to be known."""
        super().check_dispersion(card)
        if card.dispersion is None or (functional := self.record().functional) == card.functional:
            return
        raise EngineError(
            f"engine '{self.name}' is of {functional or 'a functional that it does not state'}: {card.dispersion} of "
            f"card '{card.name}' is {card.functional}'s",
            f"use a potential of {card.functional}, or a card without 'dispersion'",
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        functional = self.record().functional
        other = functional is not None and functional != card.functional
        notes = [f"engine '{self.name}' is of {functional}, card '{card.name}' says {card.functional}"] if other else []
        ignored = [
            text
            for value, text in (
                (card.cutoff_ev, f"cutoff {card.cutoff_ev} eV"),
                (card.kpoints, "k-points"),
                (card.smearing, "smearing"),
                (card.spin not in (None, "none") or None, f"spin {card.spin}"),
                (card.dipole_correction or None, "dipole correction"),
            )
            if value is not None
        ]
        if not ignored:
            return notes
        return [*notes, f"engine '{self.name}' is a potential: {', '.join(ignored)} of card '{card.name}' do not apply"]

    def calculator(self) -> Any:
        """The ASE calculator, loaded once."""
        if self._calculator is None:
            path = self.model_path
            fidelity = {} if self._modal is None else {"modal": self._modal}
            try:
                # CHGNet prints how many parameters it has, where a program may read JSON
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    self._calculator = self._potential.load(str(path), self.device(), **fidelity)
            except Exception as error:  # whatever a model's own loader raises
                if (no_memory := out_of_memory(error)) is not None:
                    raise no_memory.about(f"engine '{self.name}' cannot load '{path}'") from error
                remedy = "check that the file is a model of this family and the package versions fit"
                if "modal" in str(error):
                    remedy = (
                        f"write 'sevennet:PATH{_BEFORE_MODAL}MODAL' with one that it has, or PATH alone if it has none"
                    )
                raise EngineError(
                    f"engine '{self.name}' cannot load '{path}': {type(error).__name__}: {error}", remedy
                ) from error
        return self._calculator

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> Any:
        """See :meth:`Engine.ase_calculator`."""
        from anodeflow.workflows.engines.motion.dispersion import with_dispersion  # ASE, which plans do not need

        self._refuse_charge(charge)
        self.check_dispersion(card)
        return with_dispersion(self.calculator(), card)

    def dynamics_calculator(
        self, state: DynamicsState, card: MethodCard, directory: Path, first: Structure | None = None
    ) -> Any:
        """See :meth:`Engine.dynamics_calculator`; without what dynamics never ask for, which triples CHGNet's time."""
        from anodeflow.workflows.engines.motion.dispersion import with_dispersion

        self.check_dispersion(card)
        calculator = self.calculator()
        if type(calculator).__name__ == "CHGNetCalculator":
            from anodeflow.workflows.engines.potentials.chgnet_forces import LeanCHGNet

            calculator = LeanCHGNet(calculator.model)
        return with_dispersion(calculator, card)

    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """See :meth:`Engine.compute`."""
        structure, task, card, charge = request.structure, request.task, request.card, request.charge
        # ASE's optimisers load half of scipy, which no other engine's jobs need.
        from anodeflow.workflows.engines.motion.relax import run_ase

        calculator = self.ase_calculator(structure, card, charge)
        return run_ase(structure, calculator, task, card, monitor, stress=request.stress)

    def _refuse_charge(self, charge: int) -> None:
        if charge:
            raise EngineError(
                f"engine '{self.name}' cannot hold a charge (asked for {charge:+d})",
                "set charged: neutral in the study to run neutral Li, or use an engine with electrons",
            )

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`; scaled by the number of neighbours through the density."""
        density = len(structure) / structure.volume
        return self._potential.seconds_per_atom * len(structure) * max(0.3, density / 0.055)

    def dynamics_share(self) -> float:
        """See :meth:`Engine.dynamics_share`."""
        return self._potential.in_dynamics
