"""Write one job script that runs a whole study inside an allocation, with the results in an SQLite file."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from anodeflow.errors import InputError
from anodeflow.settings import given_in_environment, load_settings, variable_of
from anodeflow.workflows.cluster.allocation import START_S
from anodeflow.workflows.cluster.folder import Scheduler, Size, walltime_text
from anodeflow.workflows.cluster.rendering import checked, filled
from anodeflow.workflows.cluster.resources import adapter_values
from anodeflow.workflows.jobs.folders import runs_folder

if TYPE_CHECKING:
    from anodeflow.workflows.studies.base import Study

#: Commands of settings that start a program, by engine.
_COMMANDS = {"vasp": ("command", "gamma_command", "band_command"), "castep": ("command",), "qe": ("command",)}
_LAUNCHERS = {"srun", "mpirun", "mpiexec", "mpiexec.hydra", "ibrun", "aprun", "jsrun", "prun", "orterun"}
_MOST_WORKERS = 8
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
# An option is a line of the script's head: nothing that could end the line.
_OPTION = re.compile(r"-[!-~][ -~]{0,198}")
_PREFIX = {"slurm": "#SBATCH", "pbs": "#PBS", "sge": "#$"}


@dataclass(frozen=True)
class ScriptOptions:
    """What `anodeflow hpc script` is told.

    Attributes
    ----------
    scheduler
        Who runs the job.
    script, study, store
        Files, absolute: the script to write, the study, the results store.
    walltime_s, stop_before_s
        The job's time, and the part of it that is kept for stopping, s.
    nodes, cores
        Nodes, and cores of each to use.
    workers
        Calculations at once; None for one with a program, and one a core with a potential.
    gpus
        Of each node.
    options
        Further options of the scheduler, each a line of the head.
    """

    scheduler: Scheduler
    script: Path
    study: Path
    store: Path
    walltime_s: int
    stop_before_s: int = 120
    nodes: int = 1
    cores: int = 4
    workers: int | None = None
    gpus: int = 0
    partition: str | None = None
    account: str | None = None
    parallel_environment: str = "mpi"
    modules: Sequence[str] = field(default_factory=list)
    options: Sequence[str] = field(default_factory=list)


def job_script(study: Study, options: ScriptOptions) -> str:
    """Return the text of the script.

    Parameters
    ----------
    study
        The study, loaded.
    options
        What the job gets.

    Raises
    ------
    InputError
        If an option cannot be used, nodes would wait idle, or the time is too short for any calculation.
    """
    _check_time(study, options)
    electrons = study.loaded_engine.capabilities.electrons
    if options.nodes > 1 and not electrons:
        raise InputError(
            f"engine '{study.engine}' computes on the first node only, and {options.nodes - 1} of {options.nodes} "
            "nodes would wait idle",
            "use --nodes 1 and more --cores",
        )
    workers = options.workers or (1 if electrons else min(options.cores, _MOST_WORKERS))
    tasks = options.nodes * options.cores
    if tasks % workers or (electrons and workers > options.nodes and options.cores % workers):
        raise InputError(
            f"--workers {workers} does not divide {options.nodes} nodes of {options.cores} cores", "use a divisor"
        )
    threads = 1 if electrons else max(1, options.cores // workers)
    words = [sys.executable, "-P", "-m", "anodeflow.workflows.cluster.allocation", "--scheduler", options.scheduler]
    for name in ("study", "store", "script"):
        words += [f"--{name}", str(getattr(options, name))]
    words += ["--workers", str(workers), "--threads", str(threads)]
    words += ["--walltime-s", str(options.walltime_s), "--stop-before-s", str(options.stop_before_s)]
    values = {
        "version": version("anodeflow"),
        "environment": "\n".join(_environment(study.engine, options, workers, threads)),
        "command": shlex.join(words),
    }
    body = filled(files("anodeflow.hpc_templates").joinpath("study.script").read_text(), values)
    return "\n".join([*_head(options, electrons), body])


def usable_s(options: ScriptOptions) -> int:
    """Return the seconds of a job in which calculations run."""
    return options.walltime_s - options.stop_before_s - START_S


def _check_time(study: Study, options: ScriptOptions) -> None:
    """Refuse a time that is too short for the quickest calculation of a study.

    Raises
    ------
    InputError
        With the time that is needed.
    """
    walltime = walltime_text(options.walltime_s)
    cores = options.nodes * options.cores
    # What is cut off continues from its last step, if it made one.
    steps = [study.seconds_of(step) / (study.steps_of(step) + 1) / cores for step in study.planned]
    least = min(steps, default=0.0)
    if usable_s(options) <= least:
        needed = walltime_text(least + options.stop_before_s + START_S + 1)
        raise InputError(
            f"the walltime {walltime} is too short for any calculation: {options.stop_before_s} s are kept for "
            f"stopping, {START_S} s for starting, and one step of the quickest takes about {least:.0f} s",
            f"give at least --walltime {needed}",
        )


def _head(options: ScriptOptions, electrons: bool) -> list[str]:
    """Return the lines that the scheduler reads."""
    name = _NAME.sub("_", options.study.stem).strip("._-")[:40] or "study"
    walltime = walltime_text(options.walltime_s)
    tasks = {"tasks_per_node": options.cores} if electrons else {"cpus_per_task": options.cores}
    environment = checked(options.parallel_environment, "parallel environment", "--parallel-environment")
    size = Size(name="job", atoms=1, nodes=options.nodes, walltime=walltime, gpus=options.gpus,
                parallel_environment=environment, **tasks)  # fmt: skip
    values = adapter_values(options.scheduler, size, walltime)
    account = options.account and checked(options.account, "account", "--account")
    partition = options.partition and checked(options.partition, "partition", "--partition")
    if options.scheduler == "slurm":
        lines = [f"--job-name={name}", f"--nodes={values['nodes']}", f"--ntasks-per-node={values['ntasks_per_node']}",
                 f"--cpus-per-task={values['cpus_per_task']}", f"--time={walltime}"]  # fmt: skip
        lines += [f"--gpus-per-node={options.gpus}"] if options.gpus else []
        lines += [f"--partition={partition}"] if partition else []
        lines += [f"--account={account}"] if account else []
        lines += [f"--signal=B:USR1@{options.stop_before_s}", "--requeue", "--open-mode=append",
                  f"--output={name}-%j.out"]  # fmt: skip
    elif options.scheduler == "pbs":
        lines = [f"-N {name[:15]}", f"-l select={values['select']}", f"-l walltime={walltime}", "-r y", "-j oe"]
        lines += [f"-q {partition}"] if partition else []
        lines += [f"-A {account}"] if account else []
    else:
        lines = ["-S /bin/bash", f"-N {name}", f"-l h_rt={walltime}", "-cwd", "-j y", "-notify", "-r y"]
        lines += [f"-pe {values['parallel_environment']} {values['slots']}"] if values["parallel_environment"] else []
        lines += [f"-q {partition}"] if partition else []
        lines += [f"-A {account}"] if account else []
    for option in options.options:
        if not _OPTION.fullmatch(option):
            raise InputError(
                f"--option {option[:80]!r} cannot be a line of the script", "write it as in a script: --option=--qos=x"
            )
    shell = "#!/bin/bash" if options.scheduler == "sge" else "#!/bin/bash -l"
    return [shell, *(f"{_PREFIX[options.scheduler]} {line}" for line in (*lines, *options.options)), ""]


def _environment(engine: str, options: ScriptOptions, workers: int, threads: int) -> list[str]:
    """Return the lines that set up modules and variables."""
    lines = [f"module load {checked(module, 'module', '--modules')}" for module in options.modules]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    variables = {
        **{name: os.path.abspath(value) if name == "ANODEFLOW_SETTINGS" else value
           for name, value in given_in_environment().items()},
        "ANODEFLOW_RUNS": str(runs_folder()),
        "OMP_NUM_THREADS": str(threads),
        **_commands(engine, options, workers),
    }  # fmt: skip
    return [*lines, *(f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items()))]


def _commands(engine: str, options: ScriptOptions, workers: int) -> dict[str, str]:
    """Return the variables that start an engine's program over the nodes; one that names a launcher stays as it is."""
    tasks = options.nodes * options.cores // workers
    if engine == "gpaw":
        return {variable_of("gpaw", "processes"): str(tasks)}
    if engine not in _COMMANDS:
        return {}
    launcher = ["mpirun", "-np", str(tasks)]
    if options.scheduler == "slurm":
        launcher = ["srun"]
        if workers > 1:  # several at once, each on its part
            launcher += ["--exact", f"--nodes={max(1, options.nodes // workers)}", f"--ntasks={tasks}", "--mem=0"]
    section = getattr(load_settings(), engine)
    commands = {}
    for key in _COMMANDS[engine]:
        command = getattr(section, key)
        if command:
            given = Path(command[0]).name in _LAUNCHERS
            commands[variable_of(engine, key)] = shlex.join([*([] if given else launcher), *command])
    return commands
