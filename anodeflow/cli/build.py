"""`anodeflow build`: slabs, interfaces and argyrodite configurations as files, with a picture and a record.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from anodeflow.cli.crystal_source import (
    Relaxed,
    crystal_of,
    measured_in_file,
    record_of_file,
    relaxed_crystal,
    side_of,
)
from anodeflow.cli.group import Commands
from anodeflow.cli.options import json_option, store_option
from anodeflow.cli.output.build import (
    argyrodite_text,
    index_name,
    interface_text,
    match_row,
    print_listing,
    slab_text,
    termination_row,
)
from anodeflow.cli.output.structure_files import Item, checked_folder, write_folder
from anodeflow.errors import InputError
from anodeflow.parameters import parameters_named
from anodeflow.structures.defaults import VACUUM_ANGSTROM
from anodeflow.suggest import nearest

# What a builder of structures calls its parameters, and the option that sets each.
_OPTIONS = {
    "layers": "--layers",
    "shift": "--shift",
    "min_thickness_angstrom": "--thickness",
    "vacuum_angstrom": "--vacuum",
    "gap_angstrom": "--gap",
    "freeze_layers": "--freeze",
    "max_area_angstrom2": "--max-area",
    "max_strain": "--max-strain",
    "max_atoms": "--max-atoms",
    "formula_units": "--formula-units",
    "scan_registry": "--scan",
}


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


def _common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every `build` command."""
    for option in (
        json_option,
        click.option("--card", default="embedded", show_default=True, help="With --relaxed: its method card."),
        click.option("--engine", default="sevennet-0", show_default=True, help="With --relaxed: its engine."),
        store_option,
        click.option("--relaxed", is_flag=True, help="Start from the relaxed crystal in the results store."),
        click.option("--force", is_flag=True, help="Replace the files of an earlier build in this folder."),
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            help="Folder to write; by default one named after what is built.",
        ),
    ):
        command = option(command)
    return command


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
@click.option("--max-atoms", type=click.IntRange(1), default=400, show_default=True, help="Refuse larger slabs.")
@_common_options
def slab(
    crystal: str, miller: tuple[str, ...], termination: str, listing: bool, thickness: float, layers: int | None,
    stoichiometric: bool, vacuum: float, supercell: tuple[int, int], freeze: int, max_atoms: int, output: Path | None,
    force: bool, relaxed: bool, store: Path, engine: str, card: str, as_json: bool,
) -> None:  # fmt: skip
    """Cut a slab of a crystal.

    CRYSTAL is a name of the catalogue or a structure file; H K L refer to its cell as written.

    \b
    anodeflow build slab LiCl 1 0 0
    anodeflow build slab Li9Al4 4 0 0 --list
    anodeflow build slab LiCl 1 -1 0 --thickness 15 --freeze 2
    """
    index = _miller_index(miller)
    from pymatgen.core import Structure

    from anodeflow.structures.slabs import build_slab, list_terminations

    with parameters_named(_OPTIONS):
        label, bulk, record = crystal_of(crystal, Relaxed(store, engine, card) if relaxed else None)
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
    item = Item(Structure.from_sites(model.structure.sites), name, *slab_text(model, bulk.lattice, record))
    write_folder(folder, force, [item], {"kind": "slab", **model.as_dict(), "source": record}, model.notes, as_json)


@build.command()
@click.argument("film")
@click.argument("substrate")
@click.option("--film-miller", type=int, nargs=3, metavar="H K L", help="Face of the film; by default the usual one.")
@click.option("--substrate-miller", type=int, nargs=3, metavar="H K L", help="Face of the substrate.")
@click.option("--max-strain", type=click.FloatRange(0, 20, min_open=True), default=5.0, show_default=True,
              help="Largest principal strain, percent.")  # fmt: skip
@click.option("--max-area", type=float, default=400.0, show_default=True, help="Largest area, square angstrom.")
@click.option("--max-atoms", type=click.IntRange(1), default=500, show_default=True, help="Refuse larger cells.")
@click.option("--strained", type=click.Choice(["film", "substrate", "both"]), help="Default: the softer side.")
@click.option("--gap", type=float, default=2.2, show_default=True, help="Between the outermost nuclei, angstrom.")
@click.option("--shift", type=float, nargs=2, default=(0.0, 0.0), metavar="X Y",
              help="Move the film, in fractions of the interface cell.")  # fmt: skip
@click.option("--scan", is_flag=True, help="Try a grid of shifts, take the one whose closest atoms are farthest apart.")
@click.option("--film-thickness", type=float, help="Least thickness, angstrom; default 10.")
@click.option("--substrate-thickness", type=float, help="Least thickness, angstrom; default 10.")
@click.option("--vacuum", type=float, help="Empty space over the film, angstrom; default: none, two contacts.")
@click.option("--list", "listing", is_flag=True, help="List the lattice matches; write nothing.")
@click.option("--match", "match_number", type=click.IntRange(0), metavar="N", help="Take this one of --list.")
@_common_options
def interface(
    film: str, substrate: str, film_miller: tuple[int, int, int] | None,
    substrate_miller: tuple[int, int, int] | None, max_strain: float, max_area: float, max_atoms: int,
    strained: Any, gap: float, shift: tuple[float, float], scan: bool, film_thickness: float | None,
    substrate_thickness: float | None, vacuum: float | None, listing: bool, match_number: int | None,
    output: Path | None, force: bool, relaxed: bool, store: Path, engine: str, card: str, as_json: bool,
) -> None:  # fmt: skip
    """Stack two crystals in one cell.

    FILM and SUBSTRATE are names of the catalogue, structure files or argyrodite formulas.

    Without --match the match with the fewest atoms is taken among those strained by 2 % or less; if there is
    none, the least strained. --scan ranks by geometry, which is not an energy.

    \b
    anodeflow build interface Li LiCl
    anodeflow build interface Li LiCl --scan --gap 2.6
    anodeflow build interface Al LiCl --list --max-strain 3
    anodeflow build interface Li Li9Al4 --substrate-miller 4 0 0 --match 1
    """
    from anodeflow.structures.interface_pairs import interface as named_interface
    from anodeflow.structures.interface_series import scan_registry
    from anodeflow.structures.interface_sides import MIN_SIDE_ANGSTROM, slab_spec
    from anodeflow.structures.interfaces import build_interface
    from anodeflow.structures.matching import lattice_matches
    from anodeflow.structures.registry import registries

    if scan and shift != (0.0, 0.0):
        raise InputError("--scan chooses the shift, but --shift gives one", "leave out one of the two")
    place = Relaxed(store, engine, card) if relaxed else None
    limits: dict[str, Any] = {
        "max_strain": max_strain / 100, "max_area_angstrom2": max_area, "max_atoms": max_atoms,
    }  # fmt: skip
    placing: dict[str, Any] = {"gap_angstrom": gap, "vacuum_angstrom": vacuum, "shift": shift}
    with parameters_named(_OPTIONS):
        sides = [side_of(film, place), side_of(substrate, place)]
        layers = [
            slab_spec(side.crystal, miller, min_thickness_angstrom=thickness or MIN_SIDE_ANGSTROM).build().layers
            for side, miller, thickness in (
                (sides[0], film_miller, film_thickness),
                (sides[1], substrate_miller, substrate_thickness),
            )
        ]
        model = named_interface(
            sides[0].crystal, sides[1].crystal, film_miller=film_miller, substrate_miller=substrate_miller,
            film_layers=layers[0], substrate_layers=layers[1], strained=strained, **limits, **placing,
        )  # fmt: skip
        if listing or match_number is not None:
            matches = lattice_matches(model.film, model.substrate, strained=model.strained, **limits)
            if listing:
                print_listing([match_row(n, match, match == model.match) for n, match in enumerate(matches)], as_json)
                return
            if match_number is not None and match_number >= len(matches):
                raise InputError(f"no match {match_number}", f"use 0 to {len(matches) - 1}, see --list")
            model = build_interface(
                model.film, model.substrate, matches[match_number or 0], strained=model.strained,
                max_strain=limits["max_strain"], max_atoms=max_atoms, **placing,
            )  # fmt: skip
        if scan:
            model = scan_registry(model)[0]
    model = replace(model, structure=model.structure.get_sorted_structure())  # one block an element in the POSCAR
    faces = [
        f"{side.label}-{index_name(slab_model.miller)}"
        for side, slab_model in zip(sides, (model.film, model.substrate), strict=True)
    ]
    name = f"{faces[0]}-{faces[1]}-interface" + ("" if match_number is None else f"-m{match_number}")
    folder = checked_folder(output, name + ("-relaxed" if relaxed else ""), force)
    item = Item(model.structure, name, *interface_text(model, sides))
    summary = {
        "kind": "interface",
        **model.as_dict(),
        "registries": [vars(registry) for registry in registries(model)],
        "source": {"film": sides[0].record, "substrate": sides[1].record},
    }
    write_folder(folder, force, [item], summary, model.warnings, as_json)


@build.command()
@click.argument("formula")
@click.option("--formula-units", type=click.IntRange(1), help="Formula units in the cell; default: the fewest from 4.")
@click.option("--n", "number", type=click.IntRange(1), default=5, show_default=True, help="Configurations.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--anion-order", type=click.Choice(["auto", "ordered", "random", "lowest"]), default="auto",
              show_default=True, help="How S and the halide share the free-anion sites.")  # fmt: skip
@click.option("--lattice", type=float, help="Edge of the cubic cell, angstrom; default: 9.86, or that of the file.")
@_common_options
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

    with parameters_named(_OPTIONS):
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
