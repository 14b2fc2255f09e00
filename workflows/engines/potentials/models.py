"""The machine-learning potentials that are known: which package loads each, where its weights are, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Potential:
    """How to find and load one family of models.

    ``bundled`` is the path of the weights inside the installed package; None: the user names a file.
    ``seconds_per_atom`` is the measured time of one energy and force evaluation on one thread of a 2024
    server core, for about 30-60 atoms of these crystals; ``in_dynamics`` what dynamics, which need the forces only,
    take of it (``benchmarks/dynamics.py --faster``).
    """

    package: str
    bundled: str | None
    load: Callable[[str, str], Any]
    seconds_per_atom: float
    licence: str
    in_dynamics: float = 1.0


def _load_sevennet(path: str, device: str) -> Any:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(path, device=device)


def _load_chgnet(path: str, device: str) -> Any:
    from chgnet.model import CHGNet, CHGNetCalculator

    return CHGNetCalculator(CHGNet.from_file(path), use_device=device)


def _load_mace(path: str, device: str) -> Any:
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=path, device=device, default_dtype="float64")


def _load_nep(path: str, device: str) -> Any:
    from calorine.calculators import CPUNEP

    return CPUNEP(path)


POTENTIALS: dict[str, Potential] = {
    "sevennet-0": Potential(
        "sevenn",
        "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
        _load_sevennet,
        0.014,
        "MIT",
    ),
    "sevennet-l3i5": Potential(
        "sevenn",
        "pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth",
        _load_sevennet,
        0.035,
        "MIT",
    ),
    "chgnet": Potential(
        "chgnet", "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar", _load_chgnet, 0.004, "BSD", 0.42
    ),
    "sevennet": Potential("sevenn", None, _load_sevennet, 0.014, "of the model"),
    "mace": Potential("mace", None, _load_mace, 0.03, "of the model"),
    "nep": Potential("calorine", None, _load_nep, 0.0001, "of the model"),
}
