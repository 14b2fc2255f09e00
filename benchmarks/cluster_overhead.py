"""What sending a study costs beyond bare FireWorks: processor time of the sender, per job.

``python benchmarks/cluster_overhead.py [JOBS]`` starts the test database of tests/cluster on this machine. Bare: the
same jobs through jobflow's ``flow_to_workflow`` and ``LaunchPad.add_wf``. Ours adds resources, tags, our task and the
record of the study; loading and hashing the study file is not counted, as both would do it.
"""

import sys
import tempfile
import time
from pathlib import Path

from jobflow import Flow
from jobflow.managers.fireworks import flow_to_workflow

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cluster"))

from conftest import MongoServer

from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.launchpad import open_launchpad
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder
from anodeflow.workflows.cluster.submission import _claim
from anodeflow.workflows.cluster.task import dress
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.studies import load_study


def flow(number):
    maker = CalculationMaker(task="relax", card=load_card("embedded").model_dump(mode="json"), engine="chgnet")
    crystal = load_crystal("LiCl")
    return Flow([maker.make(crystal, f"LiCl/{i}") for i in range(number)])


def main():
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    server = MongoServer()
    folder = Path(tempfile.mkdtemp())
    try:
        write_folder(ClusterOptions("slurm", folder / "c", uri=server.uri("bench")))
        cluster = ClusterFolder(folder / "c")
        pad = open_launchpad(cluster)
        file = folder / "study.yaml"
        file.write_text("study: binding-energy\nengine: chgnet\nhosts: [Li]\n")
        study = load_study(file)
        assert study.hash
        assert study.planned
        best = {"bare": 1e9, "ours": 1e9}
        for _ in range(3):
            jobs = flow(number)
            clock = time.process_time()
            pad.add_wf(flow_to_workflow(jobs))
            best["bare"] = min(best["bare"], time.process_time() - clock)
            jobs = flow(number)
            pad.db.studies.delete_many({})
            clock = time.process_time()
            _claim(pad.db.studies, pad, study, file, file.read_text(), ["tag"], cluster)
            workflow = flow_to_workflow(jobs)
            dress(workflow, cluster, lambda label: None, ["tag"])
            pad.add_wf(workflow)
            best["ours"] = min(best["ours"], time.process_time() - clock)
        for name, seconds in best.items():
            print(f"{name}: {1000 * seconds / number:.2f} ms of processor time a job ({number} jobs)")
        print(f"overhead: {100 * (best['ours'] / best['bare'] - 1):+.1f} %")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
