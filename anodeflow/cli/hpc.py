"""`anodeflow hpc`: making a cluster folder, checking it, and keeping its jobs going."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from anodeflow.cli.exits import WITHOUT_RESULT
from anodeflow.cli.group import Commands
from anodeflow.cli.options import folder_option, json_text_option
from anodeflow.cli.watching import Patience, say, say_when_ended

_INTERVAL_S = 30.0


@click.group(cls=Commands, lazy={"script": "anodeflow.cli.hpc_script:script"})
def hpc() -> None:
    """Clusters: SLURM, PBS or SGE. One study: anodeflow hpc script. Many, with a database: anodeflow hpc init."""


@hpc.command()
@click.option("--scheduler", type=click.Choice(["slurm", "pbs", "sge"]), required=True, help="What this cluster has.")
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
    help="What the jobs of this folder start; decides the settings that are written.",
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
@click.option(
    "--replace", is_flag=True, help="Write over the files of an earlier init, but not those that were edited."
)
def init(modules: str | None, database: str, replace: bool, **given: Any) -> None:
    """Write a folder with every file that jobs on this cluster need; look through it before the first study."""
    from anodeflow.workflows.cluster.rendering import NEW, ClusterOptions, write_folder

    names = [name.strip() for name in (modules or "").split(",") if name.strip()]
    options = ClusterOptions(**given, modules=names, uri=database)
    for file in write_folder(options, replace=replace):
        if file.suffix == NEW:
            click.echo(f"kept {file.with_suffix('')}, which was edited; as it would be now: {file}")
        else:
            click.echo(f"wrote {file}")
    folder = options.output
    click.echo(
        f"\nNext: look through {folder}/cluster.yaml and settings.yaml, then\n"
        f"  export ANODEFLOW_CLUSTER={folder.absolute()}\n  anodeflow hpc doctor"
    )


@hpc.command()
@click.argument("studies", nargs=-1, type=click.Path(path_type=Path))
@folder_option
@click.option("--job", is_flag=True, help="Also send a test job of some seconds through the queue.")
@click.option("--wait", type=click.FloatRange(1, 86400), default=300.0, show_default=True, help="Seconds for that job.")
@json_text_option
def doctor(studies: tuple[Path, ...], folder: Path | None, job: bool, wait: float, as_json: bool) -> None:
    """Check every link from here to a finished job, and say how to fix what is broken.

    With STUDIES, the engines and cards of these; else the engine of the folder and those of the submitted studies.
    """
    from anodeflow.cli.output import grid
    from anodeflow.workflows.cluster.doctor import examine
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.launchpad import use_environment
    from anodeflow.workflows.studies import load_study

    cluster = find_folder(folder)
    use_environment(cluster)
    findings = examine(cluster, wait if job else None, [load_study(study) for study in studies])
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            grid.say(f"{finding.verdict:7s} {finding.link}: {finding.found}", indent=8)
            if finding.remedy:
                grid.say(f"        -> {finding.remedy}", indent=11)
        broken = sum(finding.verdict == "broken" for finding in findings)
        click.echo(f"{broken} broken" if broken else "nothing is broken: a study can be submitted")
    if any(finding.verdict == "broken" for finding in findings):
        raise SystemExit(WITHOUT_RESULT)


@hpc.command()
@folder_option
@click.option("--watch", is_flag=True, help="Look again and again until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=_INTERVAL_S, show_default=True, help="Seconds.")
@json_text_option
def heal(folder: Path | None, watch: bool, interval: float, as_json: bool) -> None:
    """Find jobs that the scheduler killed, preempted or forgot, and put them back."""
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.healing import SETTLE_S, Healer
    from anodeflow.workflows.cluster.launchpad import open_launchpad
    from anodeflow.workflows.store.database import DatabaseAway

    cluster = find_folder(folder)
    if watch:
        say_when_ended()
        patience = Patience(interval)
        healer = Healer(cluster, patience.until(lambda: open_launchpad(cluster), DatabaseAway))
        while True:
            healed = patience.round(healer.heal, list[Any]())
            if as_json:
                click.echo(json.dumps([vars(action) for action in healed]))
            else:
                _say_healed(healed)
            time.sleep(interval)
    healer = Healer(cluster, open_launchpad(cluster))
    done = healer.heal()
    if healer.settling():
        time.sleep(SETTLE_S + 0.5)
        done += healer.heal()
    if as_json:
        click.echo(json.dumps([vars(action) for action in done]))
    elif not done:
        click.echo("nothing to heal")
    for action in [] if as_json else done:
        click.echo(f"{action.what}: {action.job} ({action.why})")


@hpc.command()
@folder_option
@click.option("--watch", is_flag=True, help="Until Ctrl-C: send what is due, heal, and say what is done or failed.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=_INTERVAL_S, show_default=True, help="Seconds.")
@click.option(
    "--until-done",
    is_flag=True,
    help="As --watch, but end when nothing waits or runs any more; with status 4 if a study failed or was stopped.",
)
def launch(folder: Path | None, watch: bool, interval: float, until_done: bool) -> None:
    """Send the jobs that are due to the scheduler, and run the light ones here."""
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.launching import launch_once
    from anodeflow.workflows.cluster.launchpad import open_launchpad

    cluster = find_folder(folder)
    if watch or until_done:
        raise SystemExit(_watched(cluster, interval, until_done))
    report = launch_once(cluster, open_launchpad(cluster))
    for label in report.sent:
        click.echo(f"sent {label}")
    if report.light:
        click.echo(f"ran {report.light} light jobs here")
    if report.full:
        click.echo(_full(cluster))


@hpc.command()
@click.argument("studies", nargs=-1, required=True)
@folder_option
def stop(studies: tuple[str, ...], folder: Path | None) -> None:
    """Stop STUDIES (files, or hashes as `anodeflow status` shows them): cancel their jobs and send no more.

    Running calculations are warned as at the end of their time. `anodeflow hpc resume` lets them continue from there.
    """
    from anodeflow.workflows.cluster.holding import stop_study

    cluster, pad, hashes = _named(folder, studies)
    for study_hash in hashes:
        done = stop_study(cluster, pad, study_hash)
        click.echo(f"{'stopped' if done.changed else 'was stopped already:'} study {study_hash} ({done.title}): "
                   f"{done.cancelled} jobs cancelled at the scheduler, {done.left} jobs not done")  # fmt: skip
        if done.elsewhere:
            click.echo(
                f"  {done.elsewhere} jobs are not in this queue: they end by themselves, or run at another cluster"
            )
        click.echo(f"  start it again with: anodeflow hpc resume {study_hash}")


@hpc.command()
@click.argument("studies", nargs=-1, required=True)
@folder_option
def resume(studies: tuple[str, ...], folder: Path | None) -> None:
    """Start STUDIES (files or hashes) again that were stopped: with `hpc stop`, or with FireWorks' own commands."""
    from anodeflow.workflows.cluster.holding import resume_study

    cluster, pad, hashes = _named(folder, studies)
    for study_hash in hashes:
        done = resume_study(cluster, pad, study_hash)
        click.echo(f"study {study_hash} ({done.title}) runs again: {done.left} jobs not done")
    click.echo("Next: anodeflow hpc launch --watch (sends what is due)")


@hpc.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("command", type=click.Choice(["lpad", "qlaunch"]))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@folder_option
def fireworks(command: str, arguments: tuple[str, ...], folder: Path | None) -> None:
    """Run FireWorks' own lpad or qlaunch on the database of the cluster folder, with its password."""
    from anodeflow.workflows.cluster.fireworks_command import run_fireworks
    from anodeflow.workflows.cluster.folder import find_folder

    raise SystemExit(run_fireworks(find_folder(folder), command, list(arguments)))


def _named(folder: Path | None, studies: tuple[str, ...]) -> tuple[Any, Any, list[str]]:
    """Return the cluster folder, its LaunchPad and the hashes of studies that are named by file or hash."""
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.holding import study_of
    from anodeflow.workflows.cluster.launchpad import open_launchpad
    from anodeflow.workflows.studies import load_study

    cluster = find_folder(folder)
    pad = open_launchpad(cluster)
    hashes = [study_of(pad, load_study(Path(name)).hash if Path(name).is_file() else name) for name in studies]
    return cluster, pad, hashes


def _watched(cluster: Any, interval: float, until_done: bool) -> int:
    """Send, heal and say what happens, again and again; the exit status once nothing is left."""
    from anodeflow.workflows.cluster.healing import Healer
    from anodeflow.workflows.cluster.launching import LaunchReport, launch_once
    from anodeflow.workflows.cluster.launchpad import open_launchpad
    from anodeflow.workflows.cluster.watching import Watch
    from anodeflow.workflows.store.database import DatabaseAway

    say_when_ended()
    patience = Patience(interval)
    pad = patience.until(lambda: open_launchpad(cluster), DatabaseAway)
    healer, watch, was_full = Healer(cluster, pad), Watch(cluster, pad), False
    while True:
        for line in patience.round(watch.changes, list[str]()):
            say(line)
        _say_healed(patience.round(healer.heal, list[Any]()))
        report = patience.round(lambda: launch_once(cluster, pad), LaunchReport())
        for label in report.sent:
            say(f"sent {label}")
        if report.light:
            say(f"ran {report.light} light jobs here")
        if report.full and not was_full:
            say(_full(cluster))
        was_full = report.full
        if until_done and patience.round(lambda: _is_over(cluster, pad, healer), False):
            break
        if not (report.light or report.sent):
            time.sleep(interval)
    for line in patience.until(watch.changes, DatabaseAway):
        say(line)
    for row in watch.without_result:
        say(f"study {row.study_hash} ({row.title}) has no result: {row.state}; see anodeflow status", err=True)
    say(f"nothing is due or runs: {len(watch.ended)} studies ended, {len(watch.without_result)} without result")
    return WITHOUT_RESULT if watch.without_result else 0


def _is_over(cluster: Any, pad: Any, healer: Any) -> bool:
    """Tell whether nothing is left that could run: what waits behind a failed job, or is stopped, does not count."""
    from anodeflow.workflows.cluster.launchpad import stopped_studies
    from anodeflow.workflows.store.database import server_errors

    with server_errors(cluster.database):
        due = {"state": "READY", "spec.study_hash": {"$nin": stopped_studies(pad)}}
        active = {"state": {"$in": ["RUNNING", "RESERVED"]}}
        if pad.fireworks.find_one({"$or": [due, active]}, {"fw_id": 1}) is not None:
            return False
    # A job may have ended after the last look whose workflow has not taken it in.
    healed = healer.heal()
    _say_healed(healed)
    return not healed and not healer.settling()


def _full(cluster: Any) -> str:
    return f"the queue holds {cluster.settings.max_in_queue} jobs, the rest waits (max_in_queue)"


def _say_healed(healed: list[Any]) -> None:
    for action in healed:
        say(f"{action.what}: {action.job} ({action.why})")
