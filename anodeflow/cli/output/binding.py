"""The binding-energy study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.crystals import print_began_with
from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.binding import BindingStudyDoc, DescriptorMatrix, PackingSpread
    from anodeflow.analysis.binding_rows import BindingConvergence


def print_binding(document: BindingStudyDoc) -> None:
    """Print binding energies by host, and the dE matrices."""
    from anodeflow.analysis.binding import CONVENTION_TEXT
    from anodeflow.lithium_states import KIND_TEXT, STATE_TEXT

    print_heading(document)
    _print_hosts(document)
    print_began_with({host.crystal: host.began_with for host in document.hosts})
    for matrix in document.descriptors:
        _print_matrix(matrix)
    for spread in document.packings or []:
        _print_packings(spread)
    for convergence in document.convergence or []:
        _print_convergence(convergence)
    _print_beside_dft(document)
    for state in dict.fromkeys(host.li_state for host in document.hosts):
        say(f"{state}: {STATE_TEXT[state]}")
    for kind in dict.fromkeys(matrix.kind or "added" for matrix in document.descriptors):
        say(f"dE, {kind}: {KIND_TEXT[kind]}")
    for convention in document.conventions:
        say(f"{convention}: E_int against {CONVENTION_TEXT[convention]}")
    if document.hosts:
        say(f"Li charge: {document.hosts[0].charge_mode}. Negative is bound.")
    print_footing(document)


def _print_hosts(document: BindingStudyDoc) -> None:
    energies = [f"E_int (eV/Li) {_words(convention)}" for convention in document.conventions]
    ions = any(host.work_function_ev is not None for host in document.hosts)
    levels = ["W (eV)", "E_int (eV/Li) Li+"] if ions else []
    totals = ["± with rows (eV)"] if any(host.total_error_ev is not None for host in document.hosts) else []
    errors = ["± (eV)", *totals]
    table = new_table(
        ["host", "where", "state", *energies, *levels, *errors, "best site", "neighbours", "sites", "notes"],
        [*energies, *levels, *errors],
        spare=["neighbours", "sites", *energies[:-1], "± (eV)"],
    )
    for host in document.hosts:
        best = next((site for site in host.sites if site.label == host.best_site), None)
        converged = sum(site.status == "converged" for site in host.sites)
        table.add_row(
            host.crystal,
            host.environment + (f" {host.face}" if host.face else ""),
            host.li_state + "".join(f", {reservoir.text}" for reservoir in host.reservoirs or []),
            *[f"{host.binding_energy_ev[c]:+.3f}" if host.converged else "–" for c in document.conventions],
            *([number(host.work_function_ev), number(host.ion_binding_energy_ev)] if ions else []),
            number(host.numerical_uncertainty_ev),
            *([number(host.total_error_ev)] if totals else []),
            host.best_site or "–",
            (best.coordination_end or "–") if best else "–",
            f"{converged}/{len(host.sites)}",
            host.error or host.warnings,
        )
    table.print()


def _words(convention: str) -> str:
    return convention.replace("_", " ").replace("nonspin", "no spin")


def _print_matrix(matrix: DescriptorMatrix) -> None:
    kind = matrix.kind or "added"
    say(f"dE(anode, interphase) = E_int(interphase) - E_int(anode), eV, {matrix.environment}, {kind} Li")
    _print_values(matrix, matrix.d_e_ev)
    if matrix.d_e_ion_ev is not None:
        say("The same of Li+, whose electron leaves each face to the vacuum: dE(Li+) = dE + W(Y) - W(X)")
        _print_values(matrix, matrix.d_e_ion_ev)
    for line in matrix.refused:
        say(line)


def _print_packings(spread: PackingSpread) -> None:
    """Print the range of dE over the packings of a crystal."""
    say(f"dE(anode, {spread.crystal}) over {len(spread.packings)} packings, eV, {spread.environment}, {spread.kind} Li")
    table = new_table(["anode", "mean", "smallest", "largest", "packings"], ["mean", "smallest", "largest", "packings"])
    for anode, values in spread.d_e_ev.items():
        ends = spread.range_ev(anode)
        table.add_row(anode, *(f"{value:+.2f}" for value in (spread.mean_ev(anode), *ends)), str(len(values)))
    table.print()


def _print_convergence(convergence: BindingConvergence) -> None:
    """Print the rows of one setting, and the verdict."""
    say(f"{convergence.where}: E_int with {convergence.setting} varied, {_words(convergence.convention)}")
    of_li = ["E_int (eV/Li)", "- own (eV)", "- finest (eV)"]
    ions = any(row.ion_binding_energy_ev is not None for row in convergence.rows)
    of_ion = ["W (eV)", "E_int (eV/Li) Li+", "Li+ - own (eV)", "Li+ - finest (eV)"] if ions else []
    columns = [convergence.setting, "atoms", *of_li, *of_ion]
    table = new_table([*columns, "notes"], columns, spare=["atoms", "Li+ - own (eV)", "- own (eV)"])
    for row in convergence.rows:
        of_row = [row.binding_energy_ev.get(convergence.convention), row.from_base_ev, row.from_finest_ev]
        levels = [row.ion_binding_energy_ev, row.ion_from_base_ev, row.ion_from_finest_ev]
        notes = ["the study's own"] if row.is_base else []
        notes += [f"cells and k-points of {row.same_as:g}: not computed again"] if row.same_as is not None else []
        table.add_row(
            f"{row.value:g}",
            "–" if row.atoms is None else str(row.atoms),
            *map(_signed, of_row),
            *([number(row.work_function_ev), *map(_signed, levels)] if ions else []),
            [*notes, *row.notes, *filter(None, [row.error])],
        )
    table.print()
    say(convergence.verdict)


def _print_beside_dft(document: BindingStudyDoc) -> None:
    """Print how far the engine is from real DFT, for the sites that the package has a value of."""
    from anodeflow.analysis.dft_beside import beside_dft

    beside = beside_dft(document)
    if not beside:
        return
    archives = ", ".join(dict.fromkeys(f"examples/dft/results/{row.dft.archive}" for row in beside))
    say(f"How far {document.engine.name} is off real DFT ({beside[0].dft.engine}, PBE): the same sites, against bcc Li")
    numbers = ["E_int (eV/Li)", "DFT (eV/Li)", "off (eV)", "atoms", "atoms, DFT"]
    table = new_table(["host", "state", "site", *numbers], numbers, spare=["atoms", "atoms, DFT"])
    for row in beside:
        energies = (row.binding_energy_ev, row.dft.binding_energy_ev, row.off_ev)
        sizes = (row.host_atoms, row.dft.host_atoms)
        host = row.dft.crystal + (row.dft.face or "")
        table.add_row(host, row.dft.state, row.dft.site, *map(_signed, energies), *map(str, sizes))
    table.print()
    say(f"DFT: {archives}; docs/dft-results.md. Other hosts and sites have none: an error there may be as large.")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _print_values(matrix: DescriptorMatrix, values: list[list[float | None]]) -> None:
    states = matrix.states or {}
    heads = [f"{name}\n{states[name]}" if name in states else name for name in matrix.interphases]
    table = new_table(["anode", *heads], heads)
    for name, row in zip(matrix.anodes, values, strict=True):
        label = f"{name}, {states[name]}" if name in states else name
        table.add_row(label, *["–" if value is None else f"{value:+.2f}" for value in row])
    table.print()
