"""A MongoDB-protocol server for the tests of this folder, and a real SLURM where it is installed."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pretended import cluster, springs, study_file  # noqa: F401 - fixtures

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Tell the slow tests of this folder, which wait and are timed, from those that compute."""
    for item in items:
        if item.path.parent == HERE and item.get_closest_marker("slow"):
            item.add_marker("queue")


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class MongoServer:
    """The test server as a process of its own."""

    def __init__(self, *options):
        (self.port,) = free_ports(1)
        self.options = options
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "mongo_server.py", str(self.port), *self.options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline().strip() == "ready"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def uri(self, name=""):
        return f"mongodb://127.0.0.1:{self.port}/{name}?directConnection=true&retryWrites=false"


@pytest.fixture(scope="session")
def mongo():
    """A server that lives as long as the tests."""
    server = MongoServer()
    yield server
    server.stop()


@pytest.fixture
def mongo_server():
    """Makes servers of the test's own: ``mongo_server("--password", "x")``."""
    made = []

    def make(*options):
        made.append(MongoServer(*options))
        return made[-1]

    yield make
    for server in made:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def uri(mongo, request):
    """An empty database of the test's own."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)[:50]
    return mongo.uri(name)


@contextmanager
def running(make, missing, packages):
    """A scheduler with its daemons up; skips the test where they cannot be."""
    if missing is not None:
        pytest.skip(f"needs the program {missing} (Debian: {packages})")
    if os.geteuid() != 0:
        pytest.skip("needs root to start the daemons of a scheduler")
    made = make()
    try:
        try:
            made.start()
        except RuntimeError as error:
            pytest.skip(f"{type(made).__name__} does not start on this machine: {str(error).splitlines()[0]}")
        yield made
    finally:
        made.stop()


def started_slurm(folder, cpus=1):
    """A SLURM of two nodes with so many processors each."""
    from slurm import NODES, Slurm, missing_program

    (folder / "slurm").mkdir()
    make = partial(Slurm, folder / "slurm", free_ports(1 + NODES), cpus)
    return running(make, missing_program(), "slurm-wlm munge")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A SLURM of two nodes with one processor each."""
    with started_slurm(tmp_path_factory.mktemp("session")) as slurm:
        yield slurm
