"""What several test files share."""

import contextlib
import os

# Before anything imports torch or numpy: the processes of the tests share the cores, and their threads would fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples every time: a test command must not fail by chance. HYPOTHESIS_PROFILE=explore looks further.
# Nor by how busy the machine is.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", patient, derandomize=True)
settings.register_profile("explore", patient, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


# Of these only what is for the tests themselves reaches them.
FOREIGN = ("ANODEFLOW_", "VASP_STAND_IN", "CASTEP_STAND_IN", "PMG_VASP_", "FW_CONFIG_FILE", "JOBFLOW_CONFIG_FILE")
FOR_TESTS = ("ANODEFLOW_TEST_", "ANODEFLOW_WRITE_GOLDEN")


def pytest_configure(config):
    """Forget the settings, clusters and pseudopotentials of whoever runs the tests."""
    for name in [n for n in os.environ if n.startswith(FOREIGN) and not n.startswith(FOR_TESTS)]:
        del os.environ[name]
    empty = tempfile.TemporaryDirectory(prefix="anodeflow-tests-")
    config.add_cleanup(empty.cleanup)
    os.environ["XDG_CONFIG_HOME"] = empty.name
    if hasattr(config, "workerinput"):
        # The other cores run other tests, and every worker of a run imports its potential again.
        os.environ["ANODEFLOW_WORKERS"] = "1"


def pytest_xdist_auto_num_workers(config):
    """One process per core, four at most (each may load a potential); none beside this one where files are named."""
    named = [argument.split("::")[0] for argument in config.args]
    if all(Path(config.invocation_params.dir, name).is_file() for name in named):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4) if cores > 1 else 0


@pytest.fixture(scope="session")
def examples() -> Path:
    """The examples folder of the source tree."""
    return Path(__file__).parent.parent / "examples"


@pytest.fixture
def command(capsys):
    """Run the command line in this process: returns (exit status, standard output, standard error)."""
    from anodeflow.cli import main as cli

    def run(*arguments, cwd=".") -> tuple[int, str, str]:
        with contextlib.chdir(cwd):
            status = cli.guarded(lambda: cli.cli.main([str(a) for a in arguments], standalone_mode=False))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(autouse=True)
def same_environment():
    """What a command sets for its own process (a cluster folder's settings) does not reach the next test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def anodeflow():
    """Run the command line in a process of its own."""

    def run(*arguments, cwd=None, timeout=600, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "anodeflow", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=timeout,
            check=False,
            **options,
        )

    return run
