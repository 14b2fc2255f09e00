"""Several temperatures in one study: what is run, what each says, the Arrhenius law, its table and its figure."""

import numpy as np
import pytest
from factories import write_yaml
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from springs import Springs, crystal

from anodeflow.analysis.arrhenius import DiffusionPoint, arrhenius
from anodeflow.analysis.diffusion import diffusion
from anodeflow.analysis.dynamics_study import DynamicsStudyDoc, arrhenius_of
from anodeflow.analysis.figures.dynamics import dynamics_study_figure
from anodeflow.analysis.transport import transport
from anodeflow.cli.output.dynamics import print_dynamics
from anodeflow.errors import InputError
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.registry import tables

TEMPERATURES = [300.0, 600.0]


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    (tmp_path / "model").write_text("springs")
    crystal("Li").to(tmp_path / "cell.cif")
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    kind = potentials.Potential("ase", None, lambda path, device: Springs(q=8.0), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "springs", kind)

    def written(**changes):
        data = {
            "study": "molecular-dynamics",
            "engine": f"springs:{tmp_path}/model",
            "systems": [{"name": "net", "structure": "cell.cif"}],
            "seeds": [1],
            "duration_ps": 1.2,
            "segment_ps": 1.2,
            "sample_every": 5,
            "prerelax": False,
            "analysis": {"pairs": ["Li-Li"], "r_max_angstrom": 6},
        }
        return write_yaml(tmp_path, data | changes)

    return written


def test_each_temperature_is_run_under_its_label(study_file):
    single = load_study(study_file(temperature_k=600))
    several = load_study(study_file(temperatures_k=TEMPERATURES, seeds=[1, 2]))
    assert [step.label for step in single.planned] == ["net/seed 1/segment 1"]
    labels = [step.label for step in several.planned]
    assert labels == [f"net/{t:g} K/seed {seed}/segment 1" for t in TEMPERATURES for seed in (1, 2)]
    assert [run.dynamics.temperature_k for run in several.runs] == [300, 300, 600, 600]
    assert several.hash != single.hash
    # what is run at 600 K is the same, whichever study asks
    assert several.runs[2] == single.run(1)


def test_a_study_without_several_temperatures_has_its_former_hash(study_file):
    given = load_study(study_file(temperature_k=600))
    assert given.hash == load_study(study_file(temperature_k=600, temperatures_k=None)).hash
    assert "temperatures_k" not in given.hashed_settings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures_k": [300, 600], "temperature_k": 300}, "exclude each other"),
        ({"temperatures_k": [300, 300]}, "names one twice"),
        ({"temperatures_k": [300]}, "temperatures_k"),
        ({"temperatures_k": [0, 300]}, "temperatures_k"),
        ({"temperatures_k": "hot"}, "temperatures_k"),
    ],
)
def test_bad_temperatures_are_refused(study_file, changes, message):
    with pytest.raises(InputError, match=message) as error:
        load_study(study_file(**changes))
    assert "\n" not in str(error.value)


@pytest.fixture
def finished(study_file):
    study = load_study(study_file(temperatures_k=TEMPERATURES, ensemble="nve"))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    flow = study.flow()
    assert isinstance(flow, Flow)
    run_locally(flow, store=store, ensure_success=True, log=False)
    return DynamicsStudyDoc.model_validate(store.query_one({"metadata.label": "summary"})["output"])


def test_a_crystal_that_does_not_diffuse_has_no_law_and_says_so(finished, capsys):
    assert [doc.name for doc in finished.systems] == ["net, 300 K", "net, 600 K"]
    assert [(doc.system, doc.temperature_k) for doc in finished.systems] == [("net", 300.0), ("net", 600.0)]
    assert finished.complete
    cold, hot = (doc.replicas[0] for doc in finished.systems)
    assert cold.transport.temperature_k == 300
    assert hot.transport.jumps.jumps == 0
    assert hot.transport.jumps.sites == 27
    # Li alone has nothing to move against
    assert hot.transport.d_collective_cm2_per_s is None
    (law,) = finished.arrhenius
    assert law.activation_ev is None
    assert "Li in net diffuses at 0 of 2 temperatures: no Arrhenius law" in law.error
    assert any(law.error in warning for warning in finished.warnings)
    print_dynamics(finished)
    out = capsys.readouterr().out
    assert "300, 600 K" in out
    assert "no Arrhenius law" in out
    assert "(not diffusive)" in out


def walk(rate, seed):
    """Random walks of 40 atoms on a cubic lattice of 3 angstrom, frames 50 fs apart."""
    rng = np.random.default_rng(seed)
    jumps = rng.random((40, 1500)) < rate
    steps = 3.0 * np.eye(3)[rng.integers(0, 3, jumps.shape)] * (rng.choice([-1, 1], jumps.shape) * jumps)[..., None]
    return np.cumsum(steps, axis=1)


def test_a_law_that_is_known_is_found_from_runs_and_drawn(finished, tmp_path, capsys):
    """Walks whose rates follow 0.2 eV: the study's documents with their paths in place of its own."""
    boltzmann, temperatures, systems = 8.617333262e-5, (500.0, 700.0, 1000.0), []
    for number, temperature in enumerate(temperatures):
        rate = 2.0 * np.exp(-0.2 / (boltzmann * temperature))
        doc = finished.systems[0].model_copy(deep=True)
        doc.name, doc.system, doc.temperature_k = f"net, {temperature:g} K", "net", temperature
        paths, replica = walk(rate, number), doc.replicas[0]
        replica.diffusion = diffusion(paths, 50.0, "Li")
        replica.transport = transport(
            paths,
            50.0,
            element="Li",
            temperature_k=temperature,
            volume_angstrom3=1000.0,
            fit_fs=replica.diffusion.fit_fs,
        )
        systems.append(doc)
    study = finished.model_copy(update={"systems": systems, "arrhenius": arrhenius_of(systems)})
    (law,) = study.arrhenius
    assert law.fitted == 3
    assert law.activation_ev == pytest.approx(0.2, abs=0.03)
    assert law.activation_ci_ev[0] < 0.2 < law.activation_ci_ev[1]
    exact = 2.0 * np.exp(-0.2 / (boltzmann * 300)) * 9 / 6 / 50 * 0.1
    assert law.d_at_ci_cm2_per_s[0] < exact < law.d_at_ci_cm2_per_s[1]
    dynamics_study_figure(study).savefig(tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 10000
    print_dynamics(study)
    out = capsys.readouterr().out
    assert "net: E(Li) =" in out
    assert "S/cm (Nernst-Einstein)" in out
    (row,) = tables()["arrhenius"].rows(study.model_dump(mode="json"))
    assert row["activation_ev"] == law.activation_ev
    assert row["temperatures_k"] == list(temperatures)
    assert tables()["arrhenius"].rows({"arrhenius": None}) == []


def test_a_point_at_each_temperature_is_enough_for_a_law_by_hand():
    points = [DiffusionPoint(temperature_k=t, d_cm2_per_s=d) for t, d in ((500, 1e-6), (1000, 1e-4))]
    law = arrhenius("net", "Li", points)
    assert law.activation_ev == pytest.approx(np.log(100) * 8.617333262e-5 / (1 / 500 - 1 / 1000))
