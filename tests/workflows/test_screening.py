"""Interface screening with a made-up energy model whose ranking is known: pairs of atoms, and nothing ever moves."""

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from factories import write_yaml
from jobflow import JobStore
from jobflow.managers.local import run_locally
from maggma.stores import MemoryStore
from morse import scrambled
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter

from anodeflow.analysis.figures.screening import screening_figure
from anodeflow.analysis.interface_screening import (
    CellCounts,
    ScreenedInterface,
    ScreenedInterfacesDoc,
    ScreeningStudyDoc,
    fill_energies,
    ranked_interfaces,
)
from anodeflow.cli.output.screening import print_screening
from anodeflow.errors import AnodeflowError, InputError
from anodeflow.report.answers import screening_answer
from anodeflow.structures.catalogue import load_crystal
from anodeflow.units import EV_PER_A2_TO_J_PER_M2
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.screening.cells import candidates, cell_of
from anodeflow.workflows.studies.screening.tables import TABLES

REACH = 4.2
# depth in eV and distance in angstrom; like ions of the salt repel
PAIRS = {
    frozenset(("Li",)): (0.02, 3.0), frozenset(("Li", "Cl")): (0.30, 2.6), frozenset(("Cl",)): (-0.10, 3.6),
}  # fmt: skip
OWN = {"Li": -1.0, "Cl": -2.0}

PLAIN = {
    "study": "interface-screening",
    "film": {"crystal": "Li", "miller": [1, 0, 0], "layers": 3},
    "substrate": {"crystal": "LiCl", "miller": [1, 0, 0], "layers": 3},
    "max_strain_percent": 7,
    "max_area_angstrom2": 30,
    "best": 2,
}
# two polar faces, each with both terminations: (Li/Cl | Cl/Li), four candidates
POLAR = PLAIN | {
    "film": {"crystal": "LiCl", "miller": [1, 1, 1], "layers": 5, "symmetric": True},
    "substrate": {"crystal": "LiCl", "miller": [1, 1, 1], "layers": 5, "symmetric": True},
    "max_area_angstrom2": 14,
    "max_strain_percent": 1,
    "best": 1,
    "candidates": 3,
    "reservoirs": {"Cl": ["LiCl", "Cl2"], "Li": "Li"},
}


def pair_energy(a, b, r):
    depth, r0 = PAIRS[frozenset((a, b))]
    away = np.exp(-2.0 * (r - r0))
    return abs(depth) * away**2 if depth < 0 else depth * (away**2 - 2 * away)


class Pairs(Calculator):
    """The energy of pairs within reach; it claims that there are no forces."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    evaluations = 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        type(self).evaluations += 1
        symbols = atoms.get_chemical_symbols()
        first, second, distance = neighbor_list("ijd", atoms, REACH)
        pairs = sum(
            pair_energy(symbols[i], symbols[j], d) for i, j, d in zip(first, second, distance, strict=True)
        )  # fmt: skip
        energy = float(pairs / 2 + sum(OWN[s] for s in symbols))
        self.results = {
            "energy": energy, "free_energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6),
        }  # fmt: skip


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The model as an engine."""
    folder, patch = tmp_path_factory.mktemp("screening"), pytest.MonkeyPatch()
    (folder / "model").write_text("pairs")
    patch.setenv("ANODEFLOW_DEVICE", "cpu")
    kind = potentials.Potential("ase", None, lambda path, device: Pairs(), 1e-6, "test")
    patch.setitem(potentials.POTENTIALS, "pairs", kind)
    yield folder, f"pairs:{folder}/model"
    patch.undo()


def run(study, store=None):
    store = store or JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    run_locally(study.flow(), store=store, ensure_success=True, log=False)
    output = store.query_one({"metadata.label": "summary"}, sort={"completed_at": -1})["output"]
    return ScreeningStudyDoc.model_validate(output), store


def study_of(machine, data, name="study.yaml"):
    folder, engine = machine
    return load_study(write_yaml(folder, data | {"engine": engine}, name))


@pytest.fixture(scope="module")
def plain(machine):
    study = study_of(machine, PLAIN)
    document, store = run(study)
    return study, document, store


def attraction(study, entry):
    """Energy of all pairs across the contacts over 2A, J/m2, of the cell at exactly the gap that was found."""
    crystals = [study.crystal(side.crystal) for side in (study.film, study.substrate)]
    model = cell_of(study.pair, crystals, entry, entry.gap_angstrom)
    cell, film = model.structure, np.array(model.structure.site_properties["side"]) == "film"
    first, second, _, distance = cell.get_neighbor_list(REACH)
    across = film[first] & ~film[second]
    total = sum(
        pair_energy(cell[int(i)].specie.symbol, cell[int(j)].specie.symbol, d)
        for i, j, d in zip(first[across], second[across], distance[across], strict=True)
    )
    return total / (2 * model.area_angstrom2) * EV_PER_A2_TO_J_PER_M2


def test_adhesion_is_what_holds_the_sides_together(plain):
    study, document, _ = plain
    assert document.complete
    for doc, places in ((document.screened, 1e-6), (document.best, 2e-3)):  # cells are built to a tenth of an angstrom
        for entry in doc.entries:
            assert entry.adhesion_j_per_m2 == pytest.approx(-attraction(study, entry), abs=places)


def test_the_ranking_is_known(plain):
    study, document, _ = plain
    entries = document.screened.entries
    assert {"Li over Cl", "Li over Li", "Li over hollow of 4 (Cl, Li)"} >= {e.registry for e in entries}
    assert len(entries) == 3
    # one pair of terminations: the order is that of the attraction, and gamma + W is one number
    assert [e.gamma_j_per_m2 for e in entries] == sorted(e.gamma_j_per_m2 for e in entries)
    by_hand = sorted(entries, key=lambda entry: attraction(study, entry))
    assert [e.registry for e in entries] == [e.registry for e in by_hand]
    sums = [e.gamma_j_per_m2 + e.adhesion_j_per_m2 for e in entries]
    assert sums == pytest.approx([sums[0]] * 3, abs=1e-6)
    assert [e.registry for e in document.best.entries] == [e.registry for e in entries[:2]]
    assert [e.screened_rank for e in document.best.entries] == [1, 2]


def test_gamma_is_that_of_the_cell_without_the_strain(plain):
    _, document, store = plain
    energies = {
        d["output"]["label"]: d["output"]["energy_ev"] for d in store.query({"output.doc_type": "CalculationDoc"})
    }
    entry = document.best.entries[0]
    n = entry.screened_rank
    # the strained crystal is that of the screening: it is recognised
    strained, licl, li = (
        energies["screening/t0-t0-m1/strained film"],
        energies["LiCl/crystal"] / 4,
        energies["Li/crystal"] / 2,
    )
    per_area = EV_PER_A2_TO_J_PER_M2 / (2 * entry.counts.area_angstrom2)
    excess = energies[f"best {n}/cell"] - entry.counts.n_film * strained - entry.counts.n_substrate * licl
    assert entry.gamma_j_per_m2 == pytest.approx(excess * per_area)
    assert entry.strain_j_per_m2 == pytest.approx(entry.counts.n_film * (strained - li) * per_area)
    assert entry.counts.n_film == 3


def test_a_second_run_computes_nothing(plain):
    study, document, store = plain
    before = Pairs.evaluations
    again, _ = run(study, store)
    assert Pairs.evaluations == before
    assert again.screened == document.screened


def test_it_does_not_depend_on_origins_or_the_order_of_atoms(machine, plain):
    folder, _ = machine
    for name in ("Li", "LiCl"):
        crystal = scrambled(name, 4)
        CifWriter(Structure.from_sites(crystal.sites), significant_figures=12).write_file(folder / f"my{name}.cif")
    sides = {side: PLAIN[side] | {"crystal": f"my{PLAIN[side]['crystal']}.cif"} for side in ("film", "substrate")}
    document, _ = run(study_of(machine, PLAIN | sides | {"best": 1}, "moved.yaml"))
    found = {e.registry: (e.gamma_j_per_m2, e.adhesion_j_per_m2) for e in document.screened.entries}
    wanted = {e.registry: (e.gamma_j_per_m2, e.adhesion_j_per_m2) for e in plain[1].screened.entries}
    assert found == {registry: pytest.approx(values, abs=1e-3) for registry, values in wanted.items()}


@pytest.fixture(scope="module")
def polar(machine):
    study = study_of(machine, POLAR, "polar.yaml")
    return study, run(study)[0]


def test_every_pair_of_terminations_is_tried_and_unlike_ions_meet(polar):
    _, document = polar
    entries = document.screened.entries
    assert document.screened.candidates == 4
    assert len({e.candidate for e in entries}) == 4
    assert all(e.strain_percent < 1e-6 for e in entries)

    def top(termination):
        return termination.split()[1].split("/")[0]

    by_adhesion = sorted(entries, key=lambda e: -e.adhesion_j_per_m2)
    assert top(by_adhesion[0].film_termination) != top(by_adhesion[0].substrate_termination)
    assert top(by_adhesion[-1].film_termination) == top(by_adhesion[-1].substrate_termination) == "Cl"


def test_atoms_in_excess_have_the_energies_of_their_reservoirs(polar):
    _, document = polar
    mu = document.screened.chemical_potentials_ev
    assert set(mu) == {"Li", "Cl"}
    assert len(mu["Cl"]) == 2
    seen = set()
    for entry in document.screened.entries:
        counts, per_area = entry.counts, EV_PER_A2_TO_J_PER_M2 / (2 * entry.counts.area_angstrom2)
        seen.update(counts.excess)
        if "Cl" in counts.excess:
            width = abs(counts.excess["Cl"] * (mu["Cl"][0] - mu["Cl"][1])) * per_area
            low, high = entry.gamma_range_j_per_m2
            assert high - low == pytest.approx(width)
            assert low - 1e-9 <= entry.gamma_j_per_m2 <= high + 1e-9
        else:
            assert entry.gamma_range_j_per_m2 is None
    assert "Cl" in seen


def test_it_is_printed_drawn_listed_and_said(plain, polar, capsys):
    for _, document, *_ in (plain, polar):
        print_screening(document)
        figure = screening_figure(document)
        assert len(figure.axes) == 2
        (table,) = TABLES
        rows = table.rows(document.model_dump(mode="json"))
        assert len(rows) == len(document.screened.entries) + len(document.best.entries)
        assert all(row["converged"] for row in rows)
        assert document.best.entries[0].registry in screening_answer(document)
    assert "Li over Cl" in capsys.readouterr().out
    empty = plain[1].model_copy(update={"screened": ScreenedInterfacesDoc(error="nothing was computed")})
    with pytest.raises(InputError, match="nothing was computed"):
        screening_figure(empty)


def test_the_best_are_handed_to_another_engine(machine):
    _, engine = machine
    data = PLAIN | {"search_engine": engine, "card": "pbe-slab"}
    study = study_of(machine, data, "dft.yaml").with_changes(engine="vasp").as_dry_run()
    steps = {step.label: step for step in study.planned}
    assert steps["Li/crystal"].engine is None
    assert {label for label, step in steps.items() if step.engine == engine} == {
        *(f"{c}/crystal by {engine}" for c in ("Li", "LiCl")), "screening/t0-t0-m1/registries",
        "screening/t0-t0-m1/strained film", "screening/t0-t0-m1/film alone", "screening/t0-t0-m1/substrate alone",
    }  # fmt: skip
    assert [label for label in steps if label.startswith("best 2/")] == [
        "best 2/cell", "best 2/strained film", "best 2/film alone", "best 2/substrate alone",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reservoirs": {}}, "beyond whole formula units, so its energy needs a chemical potential"),
        ({"reservoirs": {"Cl": "Li"}}, "holds no Cl"),
        ({"reservoirs": {"Cl": []}}, "no phase is given for Cl"),
        ({"film": POLAR["film"] | {"terminations": [7]}}, "termination 7"),
        ({"film": POLAR["film"] | {"terminations": [0, 0]}}, "a termination is given twice"),
        ({"film": POLAR["film"] | {"terminations": []}}, "list of terminations is empty"),
        ({"film": POLAR["film"] | {"miller": [0, 0, 0]}}, "no plane"),
        ({"max_area_angstrom2": 5}, "no match within 1 % strain"),
        ({"max_atoms": 4}, "more than|at most 4 atoms"),
        ({"best": 0}, "best"),
        ({"matches": 0}, "matches"),
        ({"search_engine": "vasp"}, "has electrons"),
        ({"film": {"crystal": "Unobtainium", "miller": [1, 0, 0]}}, "Unobtainium"),
    ],
)
def test_what_cannot_be_screened_is_one_line(machine, changes, message):
    with pytest.raises(AnodeflowError, match=message) as caught:
        study_of(machine, POLAR | changes, "bad.yaml").preflight()
    assert "\n" not in str(caught.value)


# --- the arithmetic --------------------------------------------------------------------------------------


def entry(**changes):
    counts = CellCounts(atoms=10, area_angstrom2=10.0, n_film=3, n_substrate=2, substrate_cells=2)
    fields = {
        "candidate": "t0-t0-m1", "film_termination": "Li(100) Li", "substrate_termination": "LiCl(100) LiCl",
        "film_termination_index": 0, "substrate_termination_index": 0, "match": 1, "film_vectors": "1 0, 0 1",
        "substrate_vectors": "1 0, 0 1", "strain_percent": 1.0, "contacts_equivalent": True, "counts": counts,
        "registry": "Li over Cl", "shift": (0.0, 0.0), "gap_angstrom": 2.5,
    }  # fmt: skip
    return ScreenedInterface(**fields | changes)


GIVEN = {
    "e_cell_ev": -20.0, "e_film_ev_per_unit": -2.0, "e_strained_ev_per_unit": -1.9, "e_substrate_ev_per_unit": -7.5,
    "slabs_ev": (-5.0, -7.0), "chemical_potentials_ev": {},
}  # fmt: skip


def test_energies_by_hand():
    first = entry()
    fill_energies(first, **GIVEN)
    # -20 + 3 x 1.9 + 2 x 7.5 = 0.7 eV on 20 A2; the sides alone -5 - 2 x 7 = -19, 1 eV above the cell
    assert first.gamma_j_per_m2 == pytest.approx(0.7 / 20 * 16.02176634)
    assert first.strain_j_per_m2 == pytest.approx(3 * 0.1 / 20 * 16.02176634)
    assert first.adhesion_j_per_m2 == pytest.approx(1.0 / 20 * 16.02176634)
    assert first.gamma_range_j_per_m2 is None
    reacted = entry()
    fill_energies(reacted, **GIVEN | {"e_cell_ev": -21.0})
    assert reacted.problems == ["gamma is negative: the sides react, which is not the energy of a contact"]
    assert first.problems == []
    off = entry(counts=first.counts.model_copy(update={"excess": {"Cl": 1.0}}))
    fill_energies(off, **GIVEN | {"chemical_potentials_ev": {"Cl": [-3.0, -3.5]}})
    assert off.gamma_j_per_m2 == pytest.approx(3.7 / 20 * 16.02176634)
    assert off.gamma_range_j_per_m2 == pytest.approx((3.7 / 20 * 16.02176634, 4.2 / 20 * 16.02176634))
    with pytest.raises(InputError, match=r"not stoichiometric \(\+1 Cl\); name a phase: reservoirs: \{Cl: CRYSTAL\}"):
        fill_energies(off, **GIVEN)
    with pytest.raises(InputError):
        fill_energies(entry(), **GIVEN | {"e_cell_ev": float("nan")})


def test_the_order_does_not_depend_on_the_order_given():
    values = [(0.2, 0.1), (0.1, 0.3), (0.1, 0.4), (None, None)]
    entries = [entry(gamma_j_per_m2=g, adhesion_j_per_m2=w, registry=f"r{n}") for n, (g, w) in enumerate(values)]
    names = [e.registry for e in ranked_interfaces(entries)]
    assert names == ["r2", "r1", "r0", "r3"]
    assert [e.registry for e in ranked_interfaces(entries[::-1])] == names


def test_candidates_are_matches_times_pairs_of_terminations(machine):
    study = study_of(machine, PLAIN | {"matches": 2, "max_area_angstrom2": 110}, "several.yaml")
    found, left_out = candidates(study.pair, [load_crystal("Li"), load_crystal("LiCl")])
    assert [c.key for c in found] == ["t0-t0-m1", "t0-t0-m2"]
    assert left_out == []
    # the little strained one first, though it is larger
    strains = [c.model.max_strain_percent for c in found]
    assert strains[0] < 2 < strains[1]
    assert len(found[0].model.structure) > len(found[1].model.structure)
