"""CHGNet's energy and forces for molecular dynamics, without the work that only its training needs.

The package's own calculator keeps what a second derivative of the energy would need, gathers and adds features row by
row, multiplies the features of an atom with the same matrix once for every neighbour, and looks for neighbours again
in every step. Here one derivative is taken, products are made once an atom and once a bond, sums are done by rows that
lie side by side, and a list of neighbours lasts until an atom has moved half its margin. The model, its weights and
its single precision are the same: energies agree to 1e-6 eV/atom, forces to 1e-4 eV/angstrom.
CHGNet: Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from chgnet.model.model import BatchedGraph, CHGNet
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from torch import Tensor, nn

#: A list of neighbours reaches so much further than the model, angstrom; atoms may move half of it.
MARGIN_ANGSTROM = 1.0


class LeanCHGNet(Calculator):
    """Energy and forces of one CHGNet model.

    Results depend in the last digits of single precision on when the list of neighbours was made; :meth:`forget`
    drops it.

    Parameters
    ----------
    model
        Of the chgnet package; a copy is taken.
    margin_angstrom
        See :data:`MARGIN_ANGSTROM`; 0 makes a new list for every geometry.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 - ASE declares it so

    def __init__(self, model: CHGNet, margin_angstrom: float = MARGIN_ANGSTROM) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.model.requires_grad_(False)
        self._edges = _Edges()
        self.model.atom_conv_layers = nn.ModuleList(
            _AtomConvolution(layer, self._edges) for layer in self.model.atom_conv_layers
        )
        self.neighbours = Neighbours(self.model.graph_converter.atom_graph_cutoff, margin_angstrom)

    def forget(self) -> None:
        """Forget results and neighbours; ASE's ``reset``, which it calls for every new geometry, keeps the latter."""
        self.reset()
        self.neighbours.forget()

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """See ASE."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise ValueError("no atoms to compute")
        model = self.model
        device = next(model.parameters()).device
        graph = model.graph_converter(self.neighbours.geometry(self.atoms)).to(device)
        batch = BatchedGraph.from_graphs(
            [graph], bond_basis_expansion=model.bond_basis_expansion, angle_basis_expansion=model.angle_basis_expansion
        )
        self._edges.take(batch)
        energy = model._compute(batch)["e"]
        number = len(self.atoms)
        if model.is_intensive:
            energy = energy * number
        (gradient,) = torch.autograd.grad(energy.sum(), batch.atom_positions[0])
        shift = 0.0 if model.composition_model is None else float(model.composition_model([graph]))
        total = float(energy) + shift * (number if model.is_intensive else 1)
        self.results = {"energy": total, "free_energy": total, "forces": -gradient.cpu().numpy()}


class Neighbours:
    """Pairs of atoms within a cutoff, kept from step to step.

    Parameters
    ----------
    cutoff_angstrom
        Pairs up to here are handed out, exactly.
    margin_angstrom
        Pairs up to so much more are kept.
    """

    def __init__(self, cutoff_angstrom: float, margin_angstrom: float) -> None:
        self.cutoff, self.margin = cutoff_angstrom, margin_angstrom
        self.made = 0
        self.forget()

    def forget(self) -> None:
        """Make a new list for the next geometry."""
        self._positions: np.ndarray | None = None

    def geometry(self, atoms: Atoms) -> _Geometry:
        """What CHGNet's graph is made of, for this geometry."""
        positions = atoms.get_positions()
        cell = atoms.cell.array
        before = self._positions
        if (
            before is None
            or before.shape != positions.shape
            or not np.array_equal(cell, self._cell)
            or not np.array_equal(atoms.numbers, self._numbers)
            or not np.array_equal(atoms.pbc, self._pbc)
            or 2 * np.sqrt(((positions - before) ** 2).sum(axis=1).max()) >= self.margin
        ):
            self._make(atoms, positions)
        first, second, image = self._pairs
        apart = positions[second] - positions[first] + self._shifts
        distance = np.sqrt((apart**2).sum(axis=1))
        near = distance <= self.cutoff
        pairs = (first[near], second[near], image[near], distance[near])
        return _Geometry(self._structure, positions, pairs)

    def _make(self, atoms: Atoms, positions: np.ndarray) -> None:
        structure: Structure = AseAtomsAdaptor.get_structure(atoms)
        first, second, image, _ = structure.get_neighbor_list(
            r=self.cutoff + self.margin, sites=structure.sites, numerical_tol=1e-8
        )
        # a structure may fold atoms back into the cell: images are counted from where the atoms are
        folded = np.round(structure.lattice.get_fractional_coords(positions) - structure.frac_coords)
        image = image + folded[first] - folded[second]
        self._positions, self._cell = positions.copy(), atoms.cell.array.copy()
        self._numbers, self._pbc = atoms.numbers.copy(), atoms.pbc.copy()
        self._structure, self._pairs, self._shifts = structure, (first, second, image), image @ self._cell
        self.made += 1


class _Geometry:
    """As much of a pymatgen structure as CHGNet's graph converter asks for."""

    def __init__(self, like: Structure, positions: np.ndarray, pairs: tuple[np.ndarray, ...]) -> None:
        self.sites, self.composition = like.sites, like.composition
        self.lattice: Lattice = like.lattice
        self.frac_coords = self.lattice.get_fractional_coords(positions)
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self.sites)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.sites)

    def get_neighbor_list(self, **_: Any) -> tuple[np.ndarray, ...]:
        """First and second atom, image of the second, distance."""
        return self._pairs


class _Rows:
    """Where each row of a table goes when rows are gathered: both directions without adding row by row."""

    def __init__(self, index: Tensor, rows: int) -> None:
        self.index = index.long()
        self.order = torch.argsort(self.index, stable=True)
        self.starts = torch.zeros(rows, dtype=torch.long, device=index.device)
        self.starts[1:] = torch.cumsum(torch.bincount(self.index, minlength=rows), 0)[:-1]

    def summed(self, values: Tensor) -> Tensor:
        """Sum of the values that belong to each row, shape (rows, features)."""
        return nn.functional.embedding_bag(self.order, values.contiguous(), self.starts, mode="sum")


class _Gather(torch.autograd.Function):
    """Rows of a table, repeated; the derivative is their sum."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: _Rows) -> Tensor:
        ctx.rows = rows
        return values.index_select(0, rows.index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.rows.summed(gradient), None


class _Sum(torch.autograd.Function):
    """Sums of rows; the derivative repeats them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: _Rows) -> Tensor:
        ctx.rows = rows
        return rows.summed(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient.index_select(0, ctx.rows.index), None


class _Edges:
    """First atom, second atom and bond of every edge of the graph at hand; all layers share it."""

    def take(self, batch: BatchedGraph) -> None:
        """Take the graph that comes next."""
        number = len(batch.atomic_numbers)
        self.first = _Rows(batch.batched_atom_graph[:, 0], number)
        self.second = _Rows(batch.batched_atom_graph[:, 1], number)
        self.bond = _Rows(batch.directed2undirected, len(batch.bond_bases_ag))


class _AtomConvolution(nn.Module):
    """CHGNet's atom convolution: its first matrix product is made once an atom and once a bond, not once an edge."""

    def __init__(self, layer: nn.Module, edges: _Edges) -> None:
        super().__init__()
        self.layer, self.edges = layer, edges
        gated: Any = layer.twoBody_atom
        first = [mlp.layers[0] for mlp in (gated.mlp_core, gated.mlp_gate)]
        # features of the first atom, of the bond and of the second atom: 64 each
        parts = torch.cat([f.weight for f in first]).chunk(3, dim=1)
        self.of_first, self.of_bond, self.of_second = (part.T.contiguous() for part in parts)
        self.bias = torch.cat([f.bias for f in first])

    def forward(
        self, *, atom_feas: Tensor, bond_feas: Tensor, bond_weights: Tensor, atom_graph: Tensor,
        directed2undirected: Tensor,
    ) -> Tensor:  # fmt: skip
        """See :class:`chgnet.model.layers.AtomConv`."""
        layer: Any = self.layer
        gated, edges = layer.twoBody_atom, self.edges
        hidden = _Gather.apply(atom_feas @ self.of_first + self.bias, edges.first)
        hidden = hidden + _Gather.apply(bond_feas @ self.of_bond, edges.bond)
        hidden = hidden + _Gather.apply(atom_feas @ self.of_second, edges.second)
        core, gate = hidden.chunk(2, dim=1)
        core, gate = gated.mlp_core.layers[1:](core), gated.mlp_gate.layers[1:](gate)
        if gated.norm is not None:
            core, gate = gated.bn1(core), gated.bn2(gate)
        messages = gated.activation(core) * gated.sigmoid(gate) * _Gather.apply(bond_weights, edges.bond)
        atoms = _Sum.apply(messages, edges.first)
        if layer.use_mlp_out:
            atoms = layer.mlp_out(atoms)
        if layer.resnet:
            atoms = atoms + atom_feas
        return atoms if layer.atom_norm is None else layer.atom_norm(atoms)
