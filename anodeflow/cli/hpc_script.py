"""`anodeflow hpc script`: one job script for a whole study."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.options import check_folder, study_argument
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from anodeflow.workflows.cluster.folder import Scheduler


@click.command()
@study_argument
@click.option("--scheduler", type=click.Choice(["slurm", "pbs", "sge"]), help="[default: the one found here]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="The script to write.  [default: STUDY.sh beside the study]")  # fmt: skip
@click.option("--store", type=click.Path(path_type=Path),
              help="Results file, on a disk that all nodes see.  [default: STUDY.sqlite beside the study]")  # fmt: skip
@click.option("--walltime", default="24:00:00", show_default=True, help="Time of each job.")
@click.option("--stop-before", type=click.IntRange(10, 3600), default=120, show_default=True,
              help="Seconds of it that are kept for stopping.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(1, 10000), default=1, show_default=True, help="Nodes of the allocation.")
@click.option("--cores", type=click.IntRange(1, 1024), help="Cores of each node.  [default: 16; 4 for a potential]")
@click.option("--workers", type=click.IntRange(1, 1024),
              help="Calculations at once.  [default: 1 over all nodes; one a core for a potential]")  # fmt: skip
@click.option("--gpus", type=click.IntRange(0, 64), default=0, help="GPUs of each node.")
@click.option("--account", help="Account or project that the time is charged to.")
@click.option("--partition", help="Partition or queue.")
@click.option("--modules", help="Modules to load, with commas: intel/2024,vasp/6.4.")
@click.option("--parallel-environment", default="mpi", show_default=True, help="SGE only.")
@click.option("--option", "options", multiple=True, help="A further line for the scheduler: --option=--qos=long.")
@click.option("--replace", is_flag=True, help="Write over a script that is there.")
def script(study: Path, scheduler: Scheduler | None, output: Path | None, store: Path | None, walltime: str,
           stop_before: int, cores: int | None, modules: str | None, replace: bool, **given: Any) -> None:  # fmt: skip
    """Write one job script that runs all of STUDY inside an allocation; it needs no database server.

    The script sends itself again until the study is done. The results are in an SQLite file.
    """
    from anodeflow.cli.output.grid import say
    from anodeflow.columns import core_hours
    from anodeflow.workflows.cluster.folder import walltime_seconds, walltime_text
    from anodeflow.workflows.cluster.job_script import ScriptOptions, job_script, usable_s
    from anodeflow.workflows.store.connection import on_network_file_system
    from anodeflow.workflows.studies import load_study

    try:
        seconds = walltime_seconds(walltime)
    except ValueError as error:
        raise InputError(f"--walltime: {error}") from None
    loaded = load_study(study).as_dry_run()
    notes = loaded.preflight()
    file = _absolute(output or study.with_suffix(".sh"))
    place = _absolute(store or study.with_suffix(".sqlite"))
    _check_places(file, place, replace)
    options = ScriptOptions(
        scheduler=scheduler or _scheduler_here(),
        script=file,
        study=_absolute(study),
        store=place,
        walltime_s=seconds,
        stop_before_s=stop_before,
        cores=cores or (16 if loaded.loaded_engine.capabilities.electrons else 4),
        modules=[name.strip() for name in (modules or "").split(",") if name.strip()],
        **given,
    )
    text = job_script(loaded, options)
    hours = sum(loaded.seconds_of(step) for step in loaded.planned) / 3600
    jobs = max(1, -(-hours * 3600 // (options.nodes * options.cores * usable_s(options))))
    _write(file, text)
    for note in notes:
        click.echo(note if note.startswith("missing:") else f"note: {note}", err=True)
    if not on_network_file_system(str(place)):
        click.echo(
            f"note: {place.parent} is a disk of this machine, as far as can be seen: compute nodes must see it",
            err=True,
        )
    say(
        f"{file}: {len(loaded.planned)} calculations, about {core_hours(hours)} core hours, {jobs:.0f} "
        f"job{'s' if jobs > 1 else ''} of {walltime_text(seconds)} on {options.nodes} × {options.cores} cores"
    )
    click.echo(
        f"Next: {'sbatch' if options.scheduler == 'slurm' else 'qsub'} {shlex.quote(str(file))}\n"
        f"Then: anodeflow status --store {shlex.quote(str(place))}"
    )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))


def _check_places(script: Path, store: Path, replace: bool) -> None:
    """Refuse a script that is there, and a store that is not a file.

    Raises
    ------
    InputError
        With the path.
    """
    from anodeflow.workflows.store.database import database_file, is_uri

    if is_uri(str(store)) or "mongodb:/" in str(store) or database_file(str(store)) is not None or store.is_dir():
        raise InputError(
            f"--store '{store.name}' is not a results file", "name a file; with a database: anodeflow submit"
        )
    for file, kind in ((script, "script"), (store, "store")):
        check_folder(file, kind)
        if "\n" in str(file) or not str(file).isprintable():
            raise InputError(f"{kind} {str(file)!r} holds a character that a script cannot", "choose another name")
    if script.exists() and not replace:
        raise InputError(f"{script} is there already", "choose another -o, or add --replace")


def _scheduler_here() -> Scheduler:
    """Return the scheduler whose commands are on this machine.

    Raises
    ------
    InputError
        If there is none.
    """
    if shutil.which("sbatch"):
        return "slurm"
    if shutil.which("qsub"):
        return "sge" if os.environ.get("SGE_ROOT") or shutil.which("qconf") else "pbs"
    raise InputError("no scheduler is on this machine (sbatch, qsub)", "name one: --scheduler slurm, pbs or sge")


def _write(file: Path, text: str) -> None:
    from anodeflow.files import write_atomically

    try:
        write_atomically(file, text)
        file.chmod(0o755)
    except OSError as error:
        raise InputError(f"cannot write '{file}': {error.strerror}", "choose another folder with -o") from None
