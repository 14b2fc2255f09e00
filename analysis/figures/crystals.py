"""Figure of the crystal-properties study."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from anodeflow.analysis.crystal_properties import CrystalStudyDoc, known_formation_energy, known_lattice
from anodeflow.analysis.elasticity import ElasticDoc
from anodeflow.analysis.figures.style import (
    BLUE,
    ORANGE,
    VERMILION,
    computed_by,
    formula_label,
    in_style,
    mark_panels,
    write_footer,
)
from anodeflow.analysis.reference_values import published_values
from anodeflow.errors import InputError


def crystal_figure(document: CrystalStudyDoc) -> Figure:
    """Draw the deviation of every lattice parameter from the reference PBE value, and formation energies beside theirs.

    Where the study has elastic moduli, Young's moduli are drawn beside the published ones.

    Raises
    ------
    InputError
        If no crystal converged.
    """
    done = [doc for doc in document.crystals if doc.converged]
    bars = [
        (doc.crystal, axis, 100 * (dict(zip("abc", doc.cell_angstrom or (), strict=False))[axis] / value - 1))
        for doc in done
        for axis, value in known_lattice(doc.crystal).items()
    ]
    moduli = [doc for doc in document.elastic if doc.young_gpa]
    formed = [d for d in done if d.formation_energy_ev_per_atom is not None and abs(d.formation_energy_ev_per_atom) > 0]
    if not bars and not formed and not moduli:
        if done:
            raise InputError(
                "no crystal of this study has a reference or a formation energy to draw",
                "add the crystals of its elements; its numbers: anodeflow show",
            )
        raise InputError("no crystal of this study has a result to draw", "see its warnings")
    with in_style():
        widths = (3, 2, 2) if moduli else (3, 2)
        size = (9.6 if moduli else 7.2, 3.0)
        figure, (left, right, *more) = plt.subplots(
            1, len(widths), figsize=size, width_ratios=widths, layout="constrained"
        )
        labels = [f"{formula_label(name)} {axis}" for name, axis, _ in bars]
        left.barh(range(len(bars)), [value for *_, value in bars], color=BLUE, height=0.6)
        left.axvline(0.0, color="0.3", lw=0.8)
        left.axvspan(-0.5, 0.5, color="0.92", zorder=0)
        left.set_yticks(range(len(bars)), labels)
        left.invert_yaxis()
        left.set_xlabel("lattice parameter, deviation from PBE (%)")
        reach = max([1.0, *(abs(value) * 1.2 for *_, value in bars)])
        left.set_xlim(-reach, reach)
        if not bars:  # no crystal with a reference
            left.set_axis_off()
        _formation(right, formed)
        if moduli:
            _young(more[0], moduli)
        mark_panels([axes for axes in (left, right, *more) if axes.axison])
        write_footer(figure, computed_by(document.engine, document.card, document.study_hash))
    return figure


def _young(axes: Any, moduli: list[ElasticDoc]) -> None:
    """Draw Hill averages as bars, the reach over all directions as lines, published values as marks."""
    values = [doc.young_gpa["Hill"] for doc in moduli]
    axes.bar(range(len(moduli)), values, width=0.5, color=BLUE, label="Hill average")
    for place, doc in enumerate(moduli):
        reach = doc.young_by_direction_gpa
        axes.plot([place, place], [reach["smallest"], reach["largest"]], color="0.2", lw=1.2,
                  label="softest to stiffest direction" if place == 0 else None)  # fmt: skip
    known = published_values("young_modulus")
    for paper, mark, color in (("lacss2024", "D", VERMILION), ("reference (Materials Project)", "s", ORANGE)):
        marked = [(i, row["value"]) for i, doc in enumerate(moduli) for row in known
                  if (row["paper"], row["system"]) == (paper, doc.crystal)]  # fmt: skip
        if marked:
            axes.plot(*zip(*marked, strict=True), mark, mfc="none", mec=color, ms=6, label=paper)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=1, fontsize="small")
    axes.set_xticks(range(len(moduli)), [formula_label(doc.crystal) for doc in moduli])
    axes.set_ylabel("Young's modulus (GPa)")


def _formation(axes: Any, formed: list[Any]) -> None:
    if not formed:
        axes.set_axis_off()
        return
    axes.bar(
        range(len(formed)), [d.formation_energy_ev_per_atom for d in formed], width=0.5, color=BLUE, label="computed"
    )
    known = [(i, known_formation_energy(d.crystal)) for i, d in enumerate(formed)]
    marked = [(i, value) for i, value in known if value is not None]
    if marked:
        axes.plot(*zip(*marked, strict=True), "D", color=VERMILION, ms=5, label="PBE, reference")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize="small")
    axes.axhline(0.0, color="0.3", lw=0.8)
    axes.set_xticks(range(len(formed)), [formula_label(d.crystal) for d in formed])
    axes.set_ylabel("formation energy (eV/atom)")
