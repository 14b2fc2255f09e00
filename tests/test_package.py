"""The wheel: installs into a clean environment, brings its data, and passes the type checker there."""

import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from anodeflow.structures.catalogue import crystal_table
from anodeflow.workflows.cards import card_names

ROOT = Path(__file__).parent.parent


def run(*arguments, **options):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment that holds the wheel, and sees the dependencies of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build folder left in the tree would get into the next wheel.
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__"))
    built = run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, tree)
    assert built.returncode == 0, built.stderr[-2000:]
    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    done = run(python, "-m", "pip", "install", "--no-deps", "--no-index", *folder.glob("*.whl"))
    assert done.returncode == 0, done.stderr
    packages = next((environment / "lib").glob("python*")) / "site-packages"
    here = [p for p in sys.path if p.endswith("site-packages")]
    # Behind the wheel on the path, and without this environment's own editable anodeflow.
    (packages / "dependencies.pth").write_text("\n".join(here) + "\n")
    return python, packages


def test_every_package_is_in_the_wheel():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name: ROOT / folder for name, folder in setup["package-dir"].items()}
    there = {
        ".".join([name, *file.parent.relative_to(folder).parts])
        for name, folder in folders.items()
        for file in folder.rglob("__init__.py")
    }
    assert there == set(setup["packages"])


@pytest.mark.slow
def test_the_wheel_works_outside_the_tree(installed, tmp_path):
    python, packages = installed
    code = (
        "import anodeflow.workflows.cards as c, anodeflow.structures.catalogue as k;"
        "import anodeflow.analysis.figures.style as f;"
        "import matplotlib.pyplot as plt; plt.style.use(f.STYLE);"
        "print(c.__file__, len(c.card_names()), len(k.crystal_table()))"
    )
    done = run(python, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    where, cards, crystals = done.stdout.split()
    assert where.startswith(str(packages))
    assert (int(cards), int(crystals)) == (len(card_names()), len(crystal_table()))
    for part in ("py.typed", "workflows/method_cards/embedded.yaml", "structures/data/crystals/metals.yaml"):
        assert (packages / "anodeflow" / part).is_file()
    listed = run(python, "-m", "anodeflow", "crystals", "--json", cwd=tmp_path)
    assert listed.returncode == 0
    assert "Li9Al4" in listed.stdout


@pytest.mark.slow
def test_the_type_checker_passes_on_the_installed_package(installed, tmp_path):
    python, _ = installed
    done = run(
        sys.executable, "-m", "mypy", "--python-executable", python, "--config-file", ROOT / "pyproject.toml",
        "--cache-dir", tmp_path / "cache", "-p", "anodeflow", cwd=tmp_path, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
