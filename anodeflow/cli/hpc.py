"""`anodeflow hpc`: making a cluster folder, checking it, and keeping its jobs going."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from anodeflow.cli.exits import WITHOUT_RESULT
from anodeflow.cli.options import folder_option, json_text_option
from anodeflow.errors import AnodeflowError, RefusedError

_INTERVAL_S = 30.0

Outcome = TypeVar("Outcome")


@click.group()
def hpc() -> None:
    """Clusters: SLURM, PBS or SGE with FireWorks. Start with: anodeflow hpc init."""


@hpc.command()
@click.option("--scheduler", type=click.Choice(["slurm", "pbs", "sge"]), required=True)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to make.")
@click.option("--account", help="Account or project that the time is charged to.")
@click.option("--partition", help="Partition or queue.")
@click.option("--walltime", default="24:00:00", show_default=True, help="Longest time of a job.")
@click.option("--modules", help="Modules to load, with commas: intel/2024,vasp/6.4.")
@click.option(
    "--engine",
    type=click.Choice(["vasp", "castep", "qe", "gpaw", "potential"]),
    default="potential",
    show_default=True,
)
@click.option("--gpu", is_flag=True, help="Ask for one GPU a node.")
@click.option("--cores", type=click.IntRange(1, 1024), help="Cores of a node to use.  [default: 16; 4 for a potential]")
@click.option("--worker", help="Name of this cluster and user in the database.  [default: user-host]")
@click.option("--parallel-environment", help="SGE only: name of the parallel environment.  [default: mpi]")
@click.option(
    "--database",
    default="mongodb://localhost:27017/anodeflow",
    show_default=True,
    help="MongoDB server: mongodb://USER@HOST:PORT/DATABASE, without a password.",
)
@click.option("--replace", is_flag=True, help="Write over the files of an earlier init.")
def init(modules: str | None, database: str, replace: bool, **given: Any) -> None:
    """Write a folder with every file that jobs on this cluster need; look through it before the first study."""
    from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder

    names = [name.strip() for name in (modules or "").split(",") if name.strip()]
    options = ClusterOptions(**given, modules=names, uri=database)
    for file in write_folder(options, replace=replace):
        click.echo(f"wrote {file}")
    folder = options.output
    click.echo(
        f"\nNext: look through {folder}/cluster.yaml and settings.yaml, then\n"
        f"  export ANODEFLOW_CLUSTER={folder.absolute()}\n  anodeflow hpc doctor"
    )


@hpc.command()
@folder_option
@click.option("--job", is_flag=True, help="Also send a test job of some seconds through the queue.")
@click.option("--wait", type=click.FloatRange(1, 86400), default=300.0, show_default=True, help="Seconds for that job.")
@json_text_option
def doctor(folder: Path | None, job: bool, wait: float, as_json: bool) -> None:
    """Check every link from here to a finished job, and say how to fix what is broken."""
    from anodeflow.workflows.cluster.doctor import examine
    from anodeflow.workflows.cluster.folder import find_folder

    findings = examine(find_folder(folder), wait if job else None)
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.verdict:7s} {finding.link}: {finding.found}")
            if finding.remedy:
                click.echo(f"        -> {finding.remedy}")
        broken = sum(finding.verdict == "broken" for finding in findings)
        click.echo(f"{broken} broken" if broken else "nothing is broken: a study can be submitted")
    if any(finding.verdict == "broken" for finding in findings):
        raise SystemExit(WITHOUT_RESULT)


@hpc.command()
@folder_option
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=_INTERVAL_S, show_default=True, help="Seconds.")
@json_text_option
def heal(folder: Path | None, watch: bool, interval: float, as_json: bool) -> None:
    """Find jobs that the scheduler killed, preempted or forgot, and put them back."""
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.healing import SETTLE_S, Healer
    from anodeflow.workflows.cluster.launchpad import open_launchpad

    cluster = find_folder(folder)
    healer = Healer(cluster, open_launchpad(cluster))
    done = healer.heal()
    if not watch and healer.settling():
        time.sleep(SETTLE_S + 0.5)
        done += healer.heal()
    _print_healed(done, as_json)
    while watch:
        time.sleep(interval)
        _print_healed(_patiently(healer.heal, []), as_json, quiet=True)


@hpc.command()
@folder_option
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C: send what is due, and heal.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=_INTERVAL_S, show_default=True, help="Seconds.")
@click.option("--until-done", is_flag=True, help="As --watch, but end when nothing waits or runs any more.")
def launch(folder: Path | None, watch: bool, interval: float, until_done: bool) -> None:
    """Send the jobs that are due to the scheduler, and run the light ones here."""
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.healing import Healer
    from anodeflow.workflows.cluster.launching import LaunchReport, launch_once
    from anodeflow.workflows.cluster.launchpad import open_launchpad

    cluster = find_folder(folder)
    pad = open_launchpad(cluster)
    healer = Healer(cluster, pad)
    watch = watch or until_done
    while True:
        if watch:
            _print_healed(_patiently(healer.heal, []), as_json=False, quiet=True)
        report = _patiently(lambda: launch_once(cluster, pad), LaunchReport()) if watch else launch_once(cluster, pad)
        for label in report.sent:
            click.echo(f"sent {label}")
        if report.light:
            click.echo(f"ran {report.light} light jobs here")
        if report.full:
            click.echo(f"the queue holds {cluster.settings.max_in_queue} jobs, the rest waits (max_in_queue)")
        if not watch or (until_done and _patiently(lambda: _ended(cluster, pad, healer), False)):
            return
        if not (report.light or report.sent):
            time.sleep(interval)


@hpc.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("command", type=click.Choice(["lpad", "qlaunch"]))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@folder_option
def fireworks(command: str, arguments: tuple[str, ...], folder: Path | None) -> None:
    """Run FireWorks' own lpad or qlaunch on the database of the cluster folder, with its password."""
    from anodeflow.workflows.cluster.fireworks_command import run_fireworks
    from anodeflow.workflows.cluster.folder import find_folder

    raise SystemExit(run_fireworks(find_folder(folder), command, list(arguments)))


def _ended(folder: Any, pad: Any, healer: Any) -> bool:
    """Tell whether nothing is left that could run: what waits behind a failed job does not count."""
    from anodeflow.workflows.cluster.launchpad import ALIVE
    from anodeflow.workflows.store.database import server_errors

    active = [state for state in ALIVE if state not in ("WAITING", "PAUSED")]
    with server_errors(folder.database):
        if pad.fireworks.find_one({"state": {"$in": active}}, {"fw_id": 1}) is not None:
            return False
    # A job may have ended after the last look whose workflow has not taken it in.
    return not healer.heal() and not healer.settling()


def _patiently(do: Callable[[], Outcome], otherwise: Outcome) -> Outcome:
    """Do one round of what is watched; what fails while the database or the scheduler is away is only said."""
    try:
        return do()
    except RefusedError:
        raise
    except AnodeflowError as error:
        click.echo(f"{time.strftime('%H:%M:%S')} {error}", err=True)
        return otherwise


def _print_healed(healed: list[Any], as_json: bool, quiet: bool = False) -> None:
    if as_json:
        click.echo(json.dumps([vars(action) for action in healed]))
    elif not healed and not quiet:
        click.echo("nothing to heal")
    else:
        for action in healed:
            click.echo(f"{action.what}: {action.job} ({action.why})")
