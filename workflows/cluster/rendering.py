"""Writing a cluster folder from the templates: every value is checked against a list of allowed characters."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import socket
import sys
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from anodeflow.errors import InputError
from anodeflow.files import file_sha256, sha256, write_atomically
from anodeflow.workflows.cluster.folder import Scheduler, walltime_seconds, walltime_text
from anodeflow.workflows.store.database import database_from_uri

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PATH = r"/[A-Za-z0-9._/+@~-]{1,300}"
_ALLOWED = {
    "account": (_WORD, "letters, digits, . _ -"),
    "partition": (rf"{_WORD}(,{_WORD}){{0,9}}", "letters, digits, . _ - and commas between names"),
    "module": (r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,127}", "letters, digits, . _ + - /"),
    "worker": (_WORD, "letters, digits, . _ -"),
    "path": (PATH, "letters, digits, . _ + @ ~ - / and no spaces, because schedulers and shells trip over others"),
    "uri": (r"mongodb(\+srv)?://[A-Za-z0-9._:/?&=,%\[\]-]{1,500}", "letters, digits and . _ : / ? & = , % -"),
    "user": (r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", "letters, digits, . _ @ -"),
    "parallel environment": (_WORD, "letters, digits, . _ -"),
}
_COMMON = ("cluster.yaml", "database.yaml", "my_launchpad.yaml", "my_fworker.yaml", "FW_config.yaml", "jobflow.yaml",
          "settings.yaml", "environment.sh")  # fmt: skip
_LIGHT_WALLTIME_S = 1800
# The digests of what was written, to know later what a person has edited.
_WRITTEN = ".written.json"
NEW = ".new"
_LAUNCHERS = {"slurm": "srun", "pbs": "mpirun", "sge": "mpirun"}
_ENGINE_SETTINGS = {
    "vasp": "vasp:\n  command: [{launcher}, vasp_std]\n  gamma_command: [{launcher}, vasp_gam]\n"
    "  # the folder that pymatgen calls PMG_VASP_PSP_DIR\n  # potentials: /path/to/potcars",
    "castep": "castep:\n  command: [{launcher}, castep.mpi]\n  # potentials: /path/to/pseudopotentials",
    "qe": "qe:\n  command: [{launcher}, pw.x]\n  # potentials: /path/to/upf/files",
    "gpaw": "gpaw:\n  processes: {tasks}",
    "potential": "# A machine-learning potential runs inside the job: nothing to set.",
}
Engine = str


@dataclass
class ClusterOptions:
    """What `hpc init` is told."""

    scheduler: Scheduler
    output: Path
    account: str | None = None
    partition: str | None = None
    walltime: str = "24:00:00"
    modules: list[str] = field(default_factory=list)
    engine: Engine = "potential"
    gpu: bool = False
    cores: int | None = None
    worker: str | None = None
    uri: str = "mongodb://localhost:27017/anodeflow"
    parallel_environment: str | None = None


def checked(value: str, kind: str, option: str) -> str:
    """A value that may go into a script.

    Raises
    ------
    InputError
        If it holds any character that is not on the list.
    """
    pattern, words = _ALLOWED[kind]
    if not re.fullmatch(pattern, value, re.ASCII):
        raise InputError(f"{option} {value[:80]!r} cannot be used", f"it may hold {words}")
    return value


def write_folder(options: ClusterOptions, *, replace: bool = False) -> list[Path]:
    """Write a cluster folder: all files, or none.

    Parameters
    ----------
    options
        What is known of the cluster.
    replace
        Write over files that are there and were not edited. Beside one that was, the new one is left with ``.new`` at
        the end of its name; so it is beside one of which it is not known.

    Returns
    -------
    list of Path
        The files that were written; those ending in ``.new`` for files that were kept.

    Raises
    ------
    InputError
        If a value cannot be used, or a file is there already.
    """
    folder = Path(os.path.abspath(options.output.expanduser()))
    values = _values(options, checked(str(folder), "path", "--output"))
    templates = files("anodeflow.hpc_templates")
    texts = {name: templates.joinpath(name).read_text() for name in _COMMON}
    texts["my_qadapter.yaml"] = templates.joinpath(f"my_qadapter.{options.scheduler}.yaml").read_text()
    script = f"queue.{options.scheduler}.script"
    texts[script] = templates.joinpath(script).read_text()
    texts = {name: filled(text, values) for name, text in texts.items()}
    there = [name for name in texts if (folder / name).exists()]
    if there and not replace:
        raise InputError(f"{folder / there[0]} is there already", "choose another --output, or add --replace")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("launches", "runs"):
        (folder / name).mkdir(exist_ok=True)
    written = _written_before(folder)
    places = {name: folder / (f"{name}{NEW}" if _edited(folder / name, text, written) else name)
              for name, text in texts.items()}  # fmt: skip
    for name, text in texts.items():
        write_atomically(places[name], text)
        if places[name].name == name:
            (folder / f"{name}{NEW}").unlink(missing_ok=True)
            written[name] = sha256(text)
    write_atomically(folder / _WRITTEN, json.dumps(written, indent=1))
    return list(places.values())


def _written_before(folder: Path) -> dict[str, str]:
    """Return the digests of the files of a folder as they were written last."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads((folder / _WRITTEN).read_text())
        if isinstance(content, dict):
            return content
    return {}


def _edited(file: Path, text: str, written: dict[str, str]) -> bool:
    """Return whether a file is there that is neither as it was written nor as it would be written now."""
    return file.exists() and file_sha256(file) not in (written.get(file.name), sha256(text))


def filled(text: str, values: dict[str, str]) -> str:
    """A template with its ``@name@`` filled in."""
    return re.sub(r"@([a-z_]+)@", lambda match: values[match.group(1)], text)


def _values(options: ClusterOptions, folder: str) -> dict[str, str]:
    try:
        longest = walltime_seconds(options.walltime)
    except ValueError as error:
        raise InputError(f"--walltime: {error}") from None
    database = database_from_uri(options.uri)
    if database._given is not None:
        raise InputError(
            "--database holds a password, and no file of the cluster folder may",
            "leave it out; it is read from ANODEFLOW_DB_PASSWORD or ~/.config/anodeflow/db-password",
        )
    launcher = _LAUNCHERS[options.scheduler]
    potential = options.engine == "potential"
    cores = options.cores or (4 if potential else 16)
    pe = options.parallel_environment or "mpi"
    modules = [checked(name, "module", "--modules") for name in options.modules]
    python = checked(sys.executable, "path", "the path of Python")
    worker = options.worker or re.sub(r"[^A-Za-z0-9._-]", "-", f"{getpass.getuser()}-{socket.gethostname()}")[:64]
    return {
        "folder": folder,
        "python": python,
        "bin": str(Path(python).parent),
        "scheduler": options.scheduler,
        "engine": options.engine,
        "worker": checked(worker, "worker", "--worker"),
        "uri": f"'{checked(database.uri, 'uri', '--database')}'",
        "database": database.name,
        "user": "null" if database.user is None else f"'{checked(database.user, 'user', 'the user in --database')}'",
        "account": _or_null(options.account, "account"),
        "partition": _or_null(options.partition, "partition"),
        "gpus": "1" if options.gpu else "null",
        "light_walltime": walltime_text(min(_LIGHT_WALLTIME_S, longest)),
        "modules": "\n".join(["# module load ..."] if not modules else [f"module load {name}" for name in modules]),
        "threads": str(cores) if potential and not options.gpu else "1",
        "engine_settings": _ENGINE_SETTINGS[options.engine].format(launcher=launcher, tasks=cores),
        "sizes": _sizes(options, longest, cores, checked(pe, "parallel environment", "--parallel-environment")),
    }


def _or_null(value: str | None, kind: str) -> str:
    return "null" if value is None else f"'{checked(value, kind, f'--{kind}')}'"


def _sizes(options: ClusterOptions, longest: int, cores: int, pe: str) -> str:
    """Rows of `sizes`: more atoms, more time; for the largest of a plane-wave program a second node."""
    potential = options.engine == "potential"
    rows = []
    for name, atoms, share, nodes in (("small", 20, 8, 1), ("medium", 80, 2, 1), ("large", 1000, 1, 2)):
        seconds = max(min(1800, longest), longest // share)
        shape = (
            f"nodes: 1, tasks_per_node: 1, cpus_per_task: {cores}"
            if potential
            else f"nodes: {nodes}, tasks_per_node: {cores}"
        )
        extras = ", gpus: 1" if options.gpu else ""
        extras += f", parallel_environment: '{pe}'" if options.scheduler == "sge" else ""
        rows.append(f"- {{name: {name}, atoms: {atoms}, {shape}, walltime: '{walltime_text(seconds)}'{extras}}}")
    return "\n".join(rows)
