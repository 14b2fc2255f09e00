"""Method cards: the papers' settings, hashes, and what a person can get wrong."""

from pathlib import Path

import pytest
from factories import write_yaml
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.workflows.cards import MethodCard, card_names, load_card

PAPER = [
    "cui2026-binding",
    "cui2026-migration",
    "lacss2024-adsorption",
    "lacss2024-aimd",
    "lacss2024-bulk",
    "lacss2024-surface",
]
OURS = ["embedded", "pbe-bulk", "pbe-slab"]


def write(folder: Path, **changes) -> Path:
    data = load_card("cui2026-binding").model_dump(mode="json", exclude_none=True) | changes
    return write_yaml(folder, data, "card.yaml")


def test_the_six_cards_of_the_papers_and_our_own():
    assert set(card_names()) == {*PAPER, *OURS, *(f"{name}-d3-bj" for name in OURS)}


@pytest.mark.parametrize(
    ("name", "cutoff", "mesh", "energy", "force"),
    [
        ("cui2026-binding", 500, None, 1e-6, 0.03),
        ("cui2026-migration", 450, (3, 3, 1), 1e-6, 0.03),
        ("lacss2024-surface", 400, (3, 1, 1), 1e-4, 0.01),
        ("lacss2024-bulk", 600, (12, 12, 12), 1e-4, 0.01),
        ("lacss2024-adsorption", 400, (3, 1, 1), 1e-4, 0.01),
        ("lacss2024-aimd", 280, (1, 1, 1), 1e-4, 0.05),
    ],
)
def test_published_settings(name, cutoff, mesh, energy, force):
    card = load_card(name)
    assert (card.functional, card.cutoff_ev) == ("PBE", cutoff)
    assert card.kpoints.mesh == mesh
    assert (card.energy_tolerance_ev, card.force_tolerance_ev_per_angstrom) == (energy, force)


def test_aimd_card_is_50_ps_at_300_k():
    dynamics = load_card("lacss2024-aimd").dynamics
    assert (dynamics.ensemble, dynamics.timestep_fs, dynamics.duration_ps, dynamics.temperature_k) == (
        "nvt", 2.0, 50.0, 300.0,
    )  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_every_setting_is_published_or_named_as_assumed(name):
    card = load_card(name)
    assert card.source
    stated = {
        "cui2026-binding": {"cutoff_ev", "relax_cell", "vacuum_angstrom"},
        "cui2026-migration": {
            "cutoff_ev",
            "kpoints",
            "energy_tolerance_ev",
            "force_tolerance_ev_per_angstrom",
        },
    }.get(name, {"cutoff_ev", "kpoints", "energy_tolerance_ev", "force_tolerance_ev_per_angstrom", "optimiser"})
    stated |= {"functional", "potentials", "dynamics", *("name", "title", "source", "code", "assumed")}
    given = {key for key, value in card.model_dump().items() if value not in (None, False) or key == "relax_cell"}
    assert given - stated <= set(card.assumed), given - stated - set(card.assumed)


def test_hash_ignores_words_and_effort_but_no_setting(tmp_path):
    card = load_card("cui2026-binding")
    assert load_card(write(tmp_path, name="mine", title="x", max_steps=7)).hash == card.hash
    for change in (
        {"cutoff_ev": 520}, {"relax_cell": False}, {"force_tolerance_ev_per_angstrom": 0.02},
        {"kpoints": {"mesh": [2, 2, 2]}}, {"dipole_correction": True},
    ):  # fmt: skip
        assert load_card(write(tmp_path, **change)).hash != card.hash, change


def test_hashes_are_stable_across_versions():
    # A changed hash makes every stored calculation unrecognisable: change these only on purpose.
    assert load_card("embedded").hash == "cc115e428f208d5a"
    assert load_card("cui2026-binding").hash == "936f45821371e6dc"


def test_kpoint_spacing_by_hand():
    card = load_card("cui2026-binding")  # 0.04 per angstrom: 1/4.0/0.04 = 6.25 -> 7, 1/10/0.04 = 2.5 -> 3
    structure = Structure(Lattice.orthorhombic(4.0, 10.0, 25.0), ["Al"], [[0, 0, 0]])
    assert card.kpoint_mesh(structure) == (7, 3, 1)
    assert load_card("lacss2024-bulk").kpoint_mesh(structure) == (12, 12, 12)
    assert load_card("embedded").kpoint_mesh(structure) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cutof_ev": 500}, ["card.yaml:", "unknown key 'cutof_ev'", "cutoff_ev"]),
        ({"cutoff_ev": "36.7 Ry"}, ["cutoff_ev", "36.7 Ry", "plain number"]),
        ({"cutoff_ev": -1}, ["cutoff_ev", "-1"]),
        ({"kpoints": {"mesh": [0, 1, 1]}}, ["kpoints.mesh.0", "equal to 1"]),
        ({"kpoints": {"mesh": [1, 1, 1], "spacing_per_angstrom": 0.1}}, ["either mesh or spacing"]),
        ({"kpoints": {"mash": [1, 1, 1]}}, ["kpoints.mash", "mesh"]),
        ({"smearing": {"kind": "gausian"}}, ["smearing.kind", "gausian", "gaussian"]),
        ({"assumed": {"cutof": "x"}}, ["assumed", "cutof"]),
    ],
)
def test_wrong_keys_values_and_units_are_one_clear_line(tmp_path, change, words):
    with pytest.raises(InputError) as caught:
        load_card(write(tmp_path, **change))
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_missing_key_broken_yaml_twice_the_same_key(tmp_path):
    file = tmp_path / "card.yaml"
    for content, words in [
        ("name: x\nfunctional: PBE\n", "is missing"),
        ("name: x\n  functional: PBE\n", "not valid YAML"),
        ("name: x\nname: y\n", "given twice"),
        ("- a\n- b\n", "list"),
        ("", "not 'key: value'"),
    ]:
        file.write_text(content)
        with pytest.raises(InputError, match=words):
            load_card(file)
    file.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError, match=r"card\.yaml"):
        load_card(file)


def test_unknown_card_offers_the_nearest():
    with pytest.raises(InputError, match="did you mean cui2026-binding"):
        load_card("cui2026-bindin")


def test_round_trip():
    card = load_card("lacss2024-aimd")
    assert MethodCard.model_validate(card.model_dump(mode="json")) == card
