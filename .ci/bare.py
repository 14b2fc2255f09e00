"""Runs the two commands of the README as a newcomer does: each in a fresh copy, with nothing optional to be found.

``python3 .ci/bare.py FOLDER`` puts the copies into FOLDER/figure and FOLDER/tests. What is optional (GPAW, the programs
of Quantum ESPRESSO, VASP, CASTEP, MPI, the schedulers, MongoDB) is hidden also where the machine has it: the commands
get a PATH, a HOME and an environment of their own, and it is checked that nothing of it can be found from there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIES = ("figure", "tests")
FIGURE = "binding-energy.png"

# What a machine has on which Python packages can be installed.
PROGRAMS = """
    [ awk base64 basename bash bzip2 cat chmod chown cmp cp cut date dd df diff dirname du env expr false find git grep
    gunzip gzip head hostname id install kill ln ls md5sum mkdir mkfifo mktemp mount mv nice nohup nproc od paste
    printf ps pwd readlink realpath rm rmdir sed seq setsid sh sha256sum sleep sort split stat sync tail tar tee test
    timeout touch tr true truncate tty umount uname uniq unshare wc which xargs xz yes
    ar as c++ cc g++ gcc ld make
"""
OPTIONAL_PROGRAMS = """
    pw.x ld1.x vasp vasp_std castep castep.serial castep.mpi mpiexec mpirun srun
    sbatch squeue scancel scontrol sinfo slurmctld slurmd munged qsub qstat qdel qconf qmaster sge_qmaster pbsnodes
    mongod mongo mongosh
"""
OPTIONAL_PACKAGES = ["gpaw", "gpaw_data", "jobflow_remote", "mpi4py"]
CHECK = f"""
import importlib.util, shutil, sys
found = [name for name in {OPTIONAL_PACKAGES} if importlib.util.find_spec(name)]
found += [name for name in {OPTIONAL_PROGRAMS.split()} if shutil.which(name)]
sys.exit(f"not a bare environment: {{', '.join(found)}} can be found" if found else 0)
"""


def readme_commands() -> list[str]:
    """Return the commands of the section "Two commands" of the README."""
    section = (ROOT / "README.md").read_text().split("\n## Two commands\n")[1].split("\n## ")[0]
    commands = [block.strip() for block in re.findall(r"```bash\n(.*?)```", section, re.S)]
    if len(commands) != len(COPIES) or FIGURE not in commands[0] or not commands[1].endswith("pytest"):
        raise SystemExit(f"README.md: expected the command of the figure and the one of the tests, found {commands}")
    return commands


def copy_of_the_tree(folder: Path) -> None:
    """Copy what git tracks, as it stands here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def bare_environment(folder: Path) -> dict[str, str]:
    """Return an environment that holds a few programs, an empty home, and the way to the package registry."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS.split():
        if path := shutil.which(name):
            (programs / name).symlink_to(path)
    # A link would be taken for the place where Python is installed.
    python = programs / "python3"
    python.write_text(f'#!/bin/sh\nexec "{os.path.realpath(sys.executable)}" "$@"\n')
    python.chmod(0o755)
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    passed_on = re.compile(r"(PIP|SSL)_|REQUESTS_CA_BUNDLE$|(HTTPS?|NO|ALL)_PROXY$", re.I)
    environment = {name: value for name, value in os.environ.items() if passed_on.match(name)}
    pip = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pip" / "pip.conf"
    if pip.is_file():
        environment.setdefault("PIP_CONFIG_FILE", str(pip))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pip"
    environment.setdefault("PIP_CACHE_DIR", str(cache))
    return environment | {
        "PATH": str(programs),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "PIP_QUIET": "1",
    }


def run(command: str, copy: Path, environment: dict[str, str]) -> str:
    """Run a command of the README to the letter, show what it prints, and return that."""
    print(f"\n$ {command}", flush=True)
    lines = []
    with subprocess.Popen(
        ["bash", "-c", command], cwd=copy, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(f"failed: {command}")
    return "".join(lines)


def main(folder: Path) -> None:
    """Run both commands; the first that fails ends it."""
    commands = readme_commands()
    environment = bare_environment(folder)
    for name, command in zip(COPIES, commands, strict=True):
        copy = folder / name
        copy_of_the_tree(copy)
        started = time.monotonic()
        printed = run(command, copy, environment)
        took = f"{time.monotonic() - started:.0f} s, installation included"
        if pytest := re.search(r"passed.* in ([\d.]+)s", printed):
            took += f"; pytest alone {float(pytest.group(1)):.0f} s"
        print(f"== README command, {name}: {took}", flush=True)
        if subprocess.run([copy / ".venv" / "bin" / "python", "-c", CHECK], env=environment, check=False).returncode:
            raise SystemExit(1)
        if name == "figure" and not (copy / FIGURE).stat().st_size:
            raise SystemExit(f"{FIGURE} is empty")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
