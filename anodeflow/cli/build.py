"""`anodeflow build`: slabs, interfaces and argyrodite configurations as files, with a picture and a record.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from anodeflow.cli.atom_types import types_of
from anodeflow.cli.build_interface import interface
from anodeflow.cli.build_options import OPTIONS, common_options
from anodeflow.cli.crystal_source import (
    Relaxed,
    crystal_of,
    measured_in_file,
    record_of_file,
    relaxed_crystal,
)
from anodeflow.cli.group import Commands
from anodeflow.cli.output.build import (
    argyrodite_text,
    configuration_rows,
    index_name,
    print_listing,
    slab_text,
    termination_row,
)
from anodeflow.cli.output.structure_files import Item, checked_folder, write_folder
from anodeflow.errors import InputError
from anodeflow.parameters import parameters_named
from anodeflow.structures.defaults import VACUUM_ANGSTROM
from anodeflow.suggest import nearest


class _WithIndices(click.Command):
    """A command whose arguments may be negative numbers, and which still knows a misspelt option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        known = [name for parameter in self.get_params(ctx) for name in parameter.opts + parameter.secondary_opts]
        for token in args[: args.index("--")] if "--" in args else args:
            name = token.partition("=")[0] if token.startswith("--") else token[:2]
            if name.startswith("-") and name not in known and not re.fullmatch(r"-\d.*|-", token):
                near = nearest(name, [option for option in known if option.startswith("--")], cutoff=0.6)
                raise click.NoSuchOption(name, possibilities=near, ctx=ctx)
        return super().parse_args(ctx, args)


@click.group(cls=Commands)
def build() -> None:
    """Build slabs, interfaces, argyrodites.

    Each becomes a folder with POSCAR, CIF, extended XYZ, a picture, and a summary of everything that is known of it.
    """


@build.command(cls=_WithIndices, context_settings={"ignore_unknown_options": True})
@click.argument("crystal")
@click.argument("miller", nargs=-1, metavar="H K L")
@click.option("--termination", metavar="N|LABEL", default="0", show_default=True, help="Which one of --list.")
@click.option("--list", "listing", is_flag=True, help="List all terminations; write nothing.")
@click.option("--thickness", type=float, default=10.0, show_default=True, help="Least thickness, angstrom.")
@click.option("--layers", type=int, help="Take exactly so many planes instead.")
@click.option("--stoichiometric", is_flag=True, help="Keep whole repeat units, even if the two faces then differ.")
@click.option("--vacuum", type=float, default=VACUUM_ANGSTROM, show_default=True, help="Empty space, angstrom.")
@click.option("--supercell", type=click.IntRange(1), nargs=2, default=(1, 1), metavar="A B", help="Repeats in plane.")
@click.option("--freeze", type=int, default=0, metavar="N", help="Hold the lowest N planes still.")
@click.option(
    "--types", metavar="LI,CL", help="Elements of the atom types 1, 2, ... of a LAMMPS data file; or 1=Li,2=Cl."
)
@click.option("--max-atoms", type=click.IntRange(1), default=400, show_default=True, help="Refuse larger slabs.")
@common_options
def slab(
    crystal: str, miller: tuple[str, ...], termination: str, listing: bool, thickness: float, layers: int | None,
    stoichiometric: bool, vacuum: float, supercell: tuple[int, int], freeze: int, types: str | None, max_atoms: int,
    output: Path | None, force: bool, relaxed: bool, store: Path, engine: str, card: str, as_json: bool,
) -> None:  # fmt: skip
    """Cut a slab of a crystal.

    CRYSTAL is a name of the catalogue or a structure file; H K L refer to its cell as written.

    \b
    anodeflow build slab LiCl 1 0 0
    anodeflow build slab Li9Al4 4 0 0 --list
    anodeflow build slab LiCl 1 -1 0 --thickness 15 --freeze 2
    """
    index = _miller_index(miller)

    from anodeflow.structures.slabs import build_slab, list_terminations

    with parameters_named(OPTIONS):
        place = Relaxed(store, engine, card) if relaxed else None
        label, bulk, record = crystal_of(crystal, place, None if types is None else types_of(types))
        common: dict[str, Any] = {
            "min_thickness_angstrom": thickness, "layers": layers, "vacuum_angstrom": vacuum, "crystal": label,
            "max_atoms": max_atoms,
        }  # fmt: skip
        more: dict[str, Any] = {"symmetric_preferred": not stoichiometric, "supercell": supercell}
        if listing:
            terminations = list_terminations(bulk, index, **common)
            models = [build_slab(bulk, index, termination=n, **common, **more) for n in range(len(terminations))]
            print_listing([termination_row(model) for model in models], as_json)
            return
        chosen: int | str = int(termination) if re.fullmatch(r"\d+", termination) else termination
        model = build_slab(bulk, index, termination=chosen, freeze_layers=freeze, **common, **more)
    name = f"{label}-{index_name(index)}-slab" + (f"-t{model.termination_index}" if model.termination_index else "")
    folder = checked_folder(output, name + ("-relaxed" if relaxed else ""), force)
    item = Item(model.structure, name, *slab_text(model, bulk.lattice, record))
    write_folder(folder, force, [item], {"kind": "slab", **model.as_dict(), "source": record}, model.notes, as_json)


build.add_command(interface)


@build.command()
@click.argument("formula")
@click.option("--formula-units", type=click.IntRange(1), help="Formula units in the cell; default: the fewest from 4.")
@click.option("--n", "number", type=click.IntRange(1), default=5, show_default=True, help="Configurations.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the orderings that are drawn.")
@click.option("--anion-order", type=click.Choice(["auto", "ordered", "random", "lowest"]), default="auto",
              show_default=True, help="How S and the halide share the free-anion sites.")  # fmt: skip
@click.option("--lattice", type=float, help="Edge of the cubic cell, angstrom; default: 9.86, or that of the file.")
@common_options
def argyrodite(
    formula: str, formula_units: int | None, number: int, seed: int, anion_order: Any, lattice: float | None,
    output: Path | None, force: bool, relaxed: bool, store: Path, engine: str, card: str, as_json: bool,
) -> None:  # fmt: skip
    """Make ordered argyrodite configurations.

    FORMULA is met exactly or refused; the configurations are ranked by Ewald energy. It may be the file of a
    measured, disordered crystal: its edge and site inversion are then kept, its halides in whole atoms of the cell.

    \b
    anodeflow build argyrodite Li6PS5Cl
    anodeflow build argyrodite Li5.4PS4.4Cl1.6 --n 3 --seed 1
    anodeflow build argyrodite measured.cif
    """
    from anodeflow.structures.argyrodite import argyrodite_configurations, parse_argyrodite
    from anodeflow.structures.catalogue import get_entry

    with parameters_named(OPTIONS):
        measured = measured_in_file(formula, formula_units or 4)
        composition = measured.composition if measured else parse_argyrodite(formula)
        label = composition.formula.replace("/", "_")
        folder = checked_folder(output, f"{label}-argyrodite" + ("-relaxed" if relaxed else ""), force)
        ensemble = argyrodite_configurations(
            composition, formula_units=formula_units or (4 if measured else None), n=number, seed=seed,
            anion_order=anion_order, site_inversion=measured.site_inversion if measured else None,
            lattice_angstrom=lattice or (measured.lattice_angstrom if measured else 9.86),
        )  # fmt: skip
    summary, items = ensemble.as_dict(), []
    frame = get_entry("Li6PS5Cl")
    summary["source"] = {"framework": frame.name, "source": frame.source, "method": frame.method}
    if measured:
        summary["source"] |= record_of_file(Path(formula).expanduser())
        ensemble.warnings[:0] = measured.warnings
    for n, configuration in enumerate(ensemble.configurations, start=1):
        structure, stem = configuration.structure, f"{label}-{n}"
        record = summary["configurations"][n - 1]
        del record["structure"]  # it is in the files
        if relaxed:
            remedy = f"build without --relaxed, and let a study relax {stem}.cif"
            structure, record["source"] = relaxed_crystal(stem, structure, Relaxed(store, engine, card), remedy)
        items.append(Item(structure, stem, *argyrodite_text(ensemble, n, relaxed), number=n))
        record["files"] = items[-1].files
    write_folder(folder, force, items, {"kind": "argyrodite", **summary}, ensemble.warnings, as_json)
    if not as_json:
        print_listing(configuration_rows(ensemble), as_json)


def _miller_index(words: Sequence[str]) -> tuple[int, int, int]:
    """Return three integers from the command line."""
    given = " ".join(words)
    if len(words) == 4:
        raise InputError(f"Miller index '{given}' has four numbers", "leave out the third: H K L")
    try:
        h, k, l = (int(word) for word in words)  # noqa: E741
    except ValueError:
        raise InputError(f"Miller index '{given}' is not three integers", "write it like 1 0 0 or 1 -1 0") from None
    return h, k, l
