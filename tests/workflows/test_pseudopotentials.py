"""Headers of UPF files: what they say, which file serves, and what hostile files do."""

import hashlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anodeflow.errors import EngineError
from anodeflow.workflows.engines.espresso.pseudopotentials import (
    choose_pseudopotentials,
    missing_pseudopotentials,
    read_header,
    too_soft,
)

VERSION_1 = """<PP_INFO>
Generated using Vanderbilt code, version 7.3.5
    1        The Pseudo was generated with a Scalar-Relativistic Calculation
</PP_INFO>
<PP_HEADER>
   0                   Version Number
  Li                   Element
   US                  Ultrasoft pseudopotential
    T                  Nonlinear Core Correction
 SLA  PW   PBE  PBE     PBE  Exchange-Correlation functional
    3.00000000000      Z valence
  -14.54949810942      Total energy
  {wave}    {dense}     Suggested cutoff for wfc and rho
    1                  Max angular momentum component
  765                  Number of points in mesh
</PP_HEADER>
<PP_MESH>
</PP_MESH>
"""


def version_2(element="Li", **changes) -> str:
    attributes = {
        "element": element,
        "pseudo_type": "US",
        "relativistic": "scalar",
        "is_ultrasoft": "true",
        "is_paw": "false",
        "has_so": "false",
        "core_correction": "false",
        "functional": "PBE",
        "z_valence": "3.0",
        "wfc_cutoff": "29.0",
        "rho_cutoff": "232.0",
    } | changes
    inside = "\n".join(f'{key}="{value}"' for key, value in attributes.items() if value is not None)
    return f'<UPF version="2.0.1">\n<PP_INFO>\n</PP_INFO>\n<PP_HEADER\n{inside}/>\n<PP_MESH>\n</PP_MESH>\n</UPF>\n'


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_version_2(tmp_path):
    path = write(tmp_path, "Li.upf", version_2(comment="a > b, it's fine"))
    header = read_header(path)
    assert (header.element, header.functional, header.kind, header.valence) == ("Li", "PBE", "US", 3.0)
    assert (header.cutoff_ry, header.density_cutoff_ry, header.relativistic) == (29.0, 232.0, "scalar")
    assert header.core_correction is False
    assert header.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_version_1(tmp_path):
    header = read_header(write(tmp_path, "li.UPF", VERSION_1.format(wave="40.0", dense="200.0")))
    assert (header.element, header.functional, header.kind, header.valence) == ("Li", "PBE", "US", 3.0)
    assert (header.cutoff_ry, header.density_cutoff_ry) == (40.0, 200.0)
    assert header.relativistic == "scalar"
    assert header.core_correction is True


def test_zero_means_that_nothing_is_suggested(tmp_path):
    header = read_header(write(tmp_path, "li.UPF", VERSION_1.format(wave="0.0", dense="0.0")))
    assert header.cutoff_ry is None
    assert too_soft({"Li": header}, 5.0) == []


def test_comment_gives_the_minimum_where_the_header_does_not(tmp_path):
    text = version_2(wfc_cutoff="0.0", rho_cutoff=None).replace(
        "</PP_INFO>", "Suggested minimum cutoff for wavefunctions:  41. Ry\n</PP_INFO>"
    )
    assert read_header(write(tmp_path, "Li.upf", text)).cutoff_ry == 41.0


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("PBE", "PBE"),
        (" SLA PW PBX PBC", "PBE"),
        ("SLA-PW-PBE-PBE", "PBE"),
        ("sla+pw+pbx+pbc", "PBE"),
        ("PBESOL", "PBESOL"),
        ("SLA PW PSX PSC", "SLA PW PSX PSC"),
        ("PZ", "PZ"),
    ],
)
def test_names_of_the_functional(tmp_path, written, read):
    assert read_header(write(tmp_path, "Li.upf", version_2(functional=written))).functional == read


def test_paw_and_norm_conserving(tmp_path):
    assert read_header(write(tmp_path, "a.upf", version_2(is_paw="T", pseudo_type="PAW"))).kind == "PAW"
    assert read_header(write(tmp_path, "b.upf", version_2(pseudo_type="NC"))).kind == "NC"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no UPF header"),
        ("\x00\x01\x02" * 1000, "no UPF header"),
        ("<UPF version='2.0.1'>\n<PP_HEADER element='Li'", "cut off"),
        (version_2()[:-8], "cut off"),
        (version_2(element="Xx"), "is not an element"),
        (version_2(element=None), "no 'element'"),
        (version_2(z_valence="three"), "not a number"),
        (version_2(z_valence="nan"), "z_valence is nan"),
        (version_2(z_valence="-3"), "not a number of electrons"),
        (version_2(z_valence=None), "no 'z_valence'"),
        (version_2(pseudo_type="1/r"), "not norm-conserving"),
        (version_2(wfc_cutoff="1e999"), "wfc_cutoff"),
        (VERSION_1.split("</PP_HEADER>")[0] + ">", "not closed"),
        ("<PP_HEADER>\n0 Version\nLi\n</PP_HEADER>\n", "at least 8"),
        ('<UPF version="2.0.1">\n<PP_HEADER element="Li\n' + "x" * 100000 + "\n</UPF>", "no complete <PP_HEADER"),
    ],
)
def test_hostile_files_are_one_clear_line(tmp_path, text, words):
    path = write(tmp_path, "Li.upf", text)
    with pytest.raises(EngineError) as caught:
        read_header(path)
    assert words in str(caught.value)
    assert "Li.upf" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_garbled_headers_never_end_in_a_traceback(tmp_path_factory, junk, at):
    path = tmp_path_factory.mktemp("garbled") / "Li.upf"
    good = version_2().encode()
    path.write_bytes(good[:at] + junk + good[at:])
    try:
        header = read_header(path)
    except EngineError:
        return
    assert 0 < header.valence <= 120


def test_one_file_an_element(tmp_path):
    write(tmp_path, "Li.upf", version_2())
    write(tmp_path, "Cl.UPF", version_2("Cl", z_valence="7"))
    write(tmp_path, "notes.txt", "no pseudopotential")
    chosen = choose_pseudopotentials(["Cl", "Li", "Li"], tmp_path)
    assert {e: p.path.name for e, p in chosen.items()} == {"Cl": "Cl.UPF", "Li": "Li.upf"}


def test_several_files_are_listed_and_one_can_be_named(tmp_path):
    write(tmp_path, "Li.a.upf", version_2())
    write(tmp_path, "Li.b.upf", version_2(wfc_cutoff="60"))
    with pytest.raises(EngineError, match=r"2 pseudopotentials of Li in '.*': Li\.a\.upf, Li\.b\.upf; .*potentials_of"):
        choose_pseudopotentials(["Li"], tmp_path)
    chosen = choose_pseudopotentials(["Li"], tmp_path, {"Li": "Li.b.upf"})
    assert chosen["Li"].cutoff_ry == 60.0


def test_a_damaged_second_file_is_not_passed_over(tmp_path):
    write(tmp_path, "Li.upf", version_2())
    write(tmp_path, "Li.new.upf", version_2()[:-8])
    with pytest.raises(EngineError, match=r"unreadable: .*cut off"):
        choose_pseudopotentials(["Li"], tmp_path)


def test_files_of_another_functional_do_not_count(tmp_path):
    write(tmp_path, "Li.pz.upf", version_2(functional="PZ"))
    with pytest.raises(EngineError, match=r"Li\.pz\.upf' is made with functional PZ, the card asks for PBE"):
        choose_pseudopotentials(["Li"], tmp_path)
    write(tmp_path, "Li.pbe.upf", version_2())
    assert choose_pseudopotentials(["Li"], tmp_path)["Li"].path.name == "Li.pbe.upf"


def test_spin_orbit_is_refused(tmp_path):
    write(tmp_path, "Li.upf", version_2(has_so="true"))
    with pytest.raises(EngineError, match="fully relativistic"):
        choose_pseudopotentials(["Li"], tmp_path)


def test_a_file_of_another_element_is_refused(tmp_path):
    write(tmp_path, "Li.upf", version_2("Na"))
    with pytest.raises(EngineError, match="named for Li is a pseudopotential of Na"):
        choose_pseudopotentials(["Li"], tmp_path, {"Li": "Li.upf"})


def test_what_is_missing_names_element_and_path(tmp_path):
    write(tmp_path, "Li.upf", version_2())
    assert missing_pseudopotentials(["Li"], tmp_path) == []
    (line,) = missing_pseudopotentials(["Li", "Cl"], tmp_path)
    assert "Cl" in line
    assert str(tmp_path) in line
    (line,) = missing_pseudopotentials(["Cl"], tmp_path / "nowhere")
    assert "no folder" in line
    (line,) = missing_pseudopotentials(["Cl"], None)
    assert "ANODEFLOW_QE_POTENTIALS" in line
    (line,) = missing_pseudopotentials(["Li"], tmp_path, {"Li": "other.upf"})
    assert str(tmp_path / "other.upf") in line
    with pytest.raises(EngineError, match="no UPF file of it"):
        choose_pseudopotentials(["Cl"], tmp_path)


def test_a_cutoff_below_the_suggested_minimum_names_both(tmp_path):
    write(tmp_path, "Li.upf", version_2(wfc_cutoff="40"))
    chosen = choose_pseudopotentials(["Li"], tmp_path)
    (line,) = too_soft(chosen, 29.4)
    assert "40 Ry (544 eV)" in line
    assert "29.4 Ry (400 eV)" in line
    assert too_soft(chosen, 40.0) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Li.pbesol-s-rrkjus_psl.0.2.1.UPF", ("Li", "PBESOL", "US", 3.0)),
        ("Ni.pbe-spn-kjpaw_psl.1.0.0.UPF", ("Ni", "PBE", "PAW", 18.0)),
        ("Al.pz-vbc.UPF", ("Al", "SLA PZ NOGX NOGC", "NC", 3.0)),
        ("O.pbe-rrkjus.UPF", ("O", "PBE", "US", 6.0)),
    ],
)
def test_files_that_come_with_quantum_espresso(name, expected):
    program = shutil.which("pw.x")
    path = Path(program or "/usr/bin/pw.x").parents[1] / "share" / "espresso" / "pseudo" / name
    if program is None or not path.is_file():
        pytest.skip("needs Quantum ESPRESSO with its files (Debian: quantum-espresso quantum-espresso-data)")
    header = read_header(path)
    assert (header.element, header.functional, header.kind, header.valence) == expected
