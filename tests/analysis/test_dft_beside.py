"""Shipped DFT beside a potential: the values are those of the archives, and only the same sites are set beside.

After another archive ``binding-N-*.zip`` was added, ``ANODEFLOW_WRITE_GOLDEN=1 pytest`` with this file writes
``analysis/dft_binding.yaml`` again.
"""

import os
from pathlib import Path

import pytest
import yaml

from anodeflow.analysis.binding import BindingStudyDoc
from anodeflow.analysis.dft_beside import beside_dft, dft_bindings
from anodeflow.cli.output.binding import print_binding
from anodeflow.workflows.store.archive import read_archive

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "examples" / "dft" / "results"
HEAD = """# E_int of Li against bcc Li by real DFT, for what the package's archives hold (examples/dft/results): read by
# analysis/dft_beside.py, written by tests/analysis/test_dft_beside.py, which compares them with the archives.
"""


def last_document(archive):
    outputs = [job.content for job in read_archive(archive)[1]]
    (last,) = [o["output"] for o in outputs if o["metadata"].get("label") == "summary" and o["index"] == 1]
    return BindingStudyDoc.model_validate(last)


@pytest.fixture(scope="module")
def documents():
    return {file: last_document(file) for file in sorted(RESULTS.glob("binding-[0-9]-*.zip"))}


def entries(documents):
    found = {}
    for file, document in documents.items():
        if document.engine.name != "gpaw":
            continue
        for host in document.hosts:
            for site in host.sites:
                entry = {
                    "crystal": host.crystal,
                    "environment": host.environment,
                    "face": host.face,
                    "state": host.li_state,
                    "site": site.label,
                    "host_atoms": host.host_atoms,
                }
                if "bulk_metal" in site.binding_energy_ev:
                    found.setdefault(
                        tuple(entry.values()),
                        entry
                        | {
                            "image_distance_angstrom": round(host.image_distance_angstrom, 3),
                            "binding_energy_ev": round(site.binding_energy_ev["bulk_metal"], 4),
                            "engine": document.engine.name,
                            "archive": file.name,
                        },
                    )
    return list(found.values())


def test_the_values_are_those_of_the_archives(documents):
    wanted = entries(documents)
    if os.environ.get("ANODEFLOW_WRITE_GOLDEN"):
        lines = [
            f"  - {yaml.safe_dump(e, default_flow_style=True, sort_keys=False, width=1000).strip()}" for e in wanted
        ]
        (ROOT / "analysis" / "dft_binding.yaml").write_text(HEAD + "binding:\n" + "\n".join(lines) + "\n")
        dft_bindings.cache_clear()
    assert [entry.model_dump() for entry in dft_bindings()] == wanted


def test_sites_are_set_beside_the_same_sites_in_cells_of_the_same_size(documents, capsys):
    document = next(d for d in documents.values() if d.engine.name == "gpaw")
    assert beside_dft(document) == []  # by the same engine there is nothing to set beside
    other = document.model_copy(update={"engine": document.engine.model_copy(update={"name": "chgnet"})}, deep=True)
    host = next(h for h in other.hosts if (h.crystal, h.li_state) == ("LiCl", "interstitial"))
    host.sites[0].binding_energy_ev["bulk_metal"] -= 3
    offs = {(row.dft.crystal, row.dft.state): row.off_ev for row in beside_dft(other)}
    assert offs["LiCl", "interstitial"] == pytest.approx(-3, abs=1e-4)
    assert offs["Al", "substitution"] == pytest.approx(0, abs=1e-4)
    print_binding(other)
    assert "How far chgnet is off real DFT (gpaw, PBE)" in capsys.readouterr().out
    host.image_distance_angstrom *= 1.2
    assert ("LiCl", "interstitial") not in {(row.dft.crystal, row.dft.state) for row in beside_dft(other)}
    metal = next(h for h in other.hosts if (h.crystal, h.li_state) == ("LiAl", "substitution"))
    assert ("LiAl", "substitution") in {(row.dft.crystal, row.dft.state) for row in beside_dft(other)}
    metal.reservoirs[0].phase = "LiAl"
    assert ("LiAl", "substitution") not in {(row.dft.crystal, row.dft.state) for row in beside_dft(other)}
    other.card.dispersion = "d3-bj"
    assert beside_dft(other) == []
    other.card.dispersion = None
    assert beside_dft(other) != []
    other.engine.functional = "r2SCAN"
    assert beside_dft(other) == []
