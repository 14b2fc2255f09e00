"""The machine-learning potentials that are known: which package loads each, where its weights are, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Training:
    """What a model learned: whose energies it gives, and where that is written.

    Parameters
    ----------
    functional
        Exchange-correlation functional of the energies; None where a file of the user's does not say.
    data
        The training data, with their source; None where that is not known.
    """

    functional: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class Potential:
    """How to find and load one family of models.

    ``bundled`` is the path of the weights inside the installed package; None: the user names a file.
    ``seconds_per_atom`` is the measured time of one energy and force evaluation on one thread of a 2024
    server core, for about 30-60 atoms of these crystals; ``in_dynamics`` what dynamics, which need the forces only,
    take of it (``benchmarks/dynamics.py --faster``). ``load`` takes path and device, and ``modal`` where one
    fidelity of a multi-fidelity model is asked for.
    ``beside`` are further files that decide its numbers, ``extra`` what pip is asked for where the package is missing.
    ``by_path``: a file of the user's may take the place of the bundled one.
    """

    package: str
    bundled: str | None
    load: Callable[..., Any]
    seconds_per_atom: float
    licence: str
    in_dynamics: float = 1.0
    training: Training = Training()
    modal: str | None = None
    beside: tuple[str, ...] = ()
    extra: str = "embedded"
    by_path: bool = False


def _load_sevennet(path: str, device: str, modal: str | None = None) -> Any:
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(path, device=device, modal=modal)
    if modal is not None and calculator.modal is None:
        raise ValueError(f"the model has one fidelity, so modal '{modal}' means nothing")
    return calculator


def _load_chgnet(path: str, device: str) -> Any:
    from chgnet.model import CHGNet, CHGNetCalculator

    return CHGNetCalculator(CHGNet.from_file(path), use_device=device)


def _load_chgnet_0_2(path: str, device: str) -> Any:
    """Load weights of before 0.3.0, whose last layers have a bias."""
    from chgnet.model import CHGNet, CHGNetCalculator

    return CHGNetCalculator(CHGNet.from_file(path, mlp_out_bias=True, version="0.2.0"), use_device=device)


def _load_diep(path: str, device: str) -> Any:
    from diep.pretrained import make_calculator

    return make_calculator(Path(path).parent, device=device)


def _load_mace(path: str, device: str) -> Any:
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=path, device=device, default_dtype="float64")


def _load_nep(path: str, device: str) -> Any:
    from calorine.calculators import CPUNEP

    return CPUNEP(path)


_MPTRJ = "relaxation frames of the Materials Project with PBE and PBE+U (MPtrj), doi:10.1038/s42256-023-00716-3"
_MF_0 = "PBE(+U) and r2SCAN relaxation frames of the Materials Project; asked for {}; doi:10.1021/jacs.4c14455"
_MF_0_FILE = "pretrained_potentials/SevenNet_MF_0/checkpoint_sevennet_mf_0.pth"
_PBE = Training("PBE", _MPTRJ)
# The functional of fidelities that public multi-fidelity models name so.
_FUNCTIONALS = {
    "pbe": "PBE", "r2scan": "r2SCAN", "mpa": "PBE", "omat24": "PBE", "matpes_pbe": "PBE", "matpes_r2scan": "r2SCAN",
    "mp_r2scan": "r2SCAN",
}  # fmt: skip


def training_of(potential: Potential, modal: str | None) -> Training:
    """Return what a model learned; of a file of the user's its fidelity alone may say so."""
    if potential.bundled is not None or modal is None:
        return potential.training
    return Training(_FUNCTIONALS.get(modal.lower()))


POTENTIALS: dict[str, Potential] = {
    "sevennet-0": Potential(
        "sevenn",
        "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
        _load_sevennet,
        0.011,
        "MIT",
        training=_PBE,
    ),
    "sevennet-l3i5": Potential(
        "sevenn",
        "pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth",
        _load_sevennet,
        0.035,
        "MIT",
        training=_PBE,
    ),
    "sevennet-mf-0-pbe": Potential(
        "sevenn", _MF_0_FILE, _load_sevennet, 0.011, "MIT", training=Training("PBE", _MF_0.format("PBE")), modal="PBE"
    ),
    "sevennet-mf-0-r2scan": Potential(
        "sevenn", _MF_0_FILE, _load_sevennet, 0.011, "MIT",
        training=Training("r2SCAN", _MF_0.format("r2SCAN")), modal="R2SCAN",
    ),
    "chgnet": Potential(
        "chgnet", "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar", _load_chgnet, 0.004, "BSD", 0.42, _PBE,
        by_path=True,
    ),
    "chgnet-0.2.0": Potential(
        "chgnet", "pretrained/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar", _load_chgnet_0_2, 0.004, "BSD", 0.42, _PBE
    ),
    "chgnet-r2scan": Potential(
        "chgnet", "pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar", _load_chgnet, 0.004,
        "BSD", 0.42,
        Training(
            "r2SCAN",
            "240 000 r2SCAN frames of the Materials Project, from CHGNet 0.3.0, arXiv:2504.05565",
        ),
    ),
    "diep-r2scan": Potential(
        "diep", "pretrained_models/diep_fold1/state.pt", _load_diep, 0.023, "BSD-3-Clause",
        training=Training(
            "r2SCAN", "349 107 r2SCAN frames of MatPES, many far from equilibrium, arXiv:2503.04070; package diep 2.0.0"
        ),
        beside=("model.json", "model.pt"), extra="diep",
    ),
    "sevennet": Potential("sevenn", None, _load_sevennet, 0.011, "of the model"),
    "mace": Potential("mace", None, _load_mace, 0.03, "of the model"),
    "nep": Potential("calorine", None, _load_nep, 0.0001, "of the model"),
}  # fmt: skip
