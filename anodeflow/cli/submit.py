"""`anodeflow submit`: a study to the cluster."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from anodeflow.cli.options import folder_option, json_text_option, study_argument, trust_argument_option
from anodeflow.errors import InputError


@click.command()
@study_argument
@folder_option
@click.option("--dry-run", is_flag=True, help="Only show what would be sent.")
@click.option("--tag", "tags", multiple=True, help="A word put on every job; may be given several times.")
@click.option("--again", is_flag=True, help="Run again what failed in a study that was submitted before.")
@trust_argument_option
@click.option("--force", is_flag=True, help="Also send dynamics with a model file that failed its audit.")
@click.option(
    "--jobflow-remote",
    "remote",
    metavar="[PROJECT/]WORKER",
    help="Send it with jobflow-remote, where nodes cannot reach the database.",
)
@json_text_option
def submit(
    study: Path,
    folder: Path | None,
    dry_run: bool,
    tags: tuple[str, ...],
    again: bool,
    trust: bool,
    force: bool,
    remote: str | None,
    as_json: bool,
) -> None:
    """Send STUDY to the cluster. What is finished or queued already is not sent again."""
    if trust and (again or remote is not None):
        raise InputError(
            "--trust is for a study that is submitted with FireWorks for the first time",
            "set trust_imported: true in the settings of the machines that compute",
        )
    if remote is not None:
        _submit_remote(study, folder, remote, tags, dry_run, again, as_json)
        return
    from anodeflow.cli.audit import refuse_failed_model
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.launchpad import use_environment
    from anodeflow.workflows.cluster.submission import submit_study
    from anodeflow.workflows.store import open_job_store
    from anodeflow.workflows.studies import load_study

    cluster, loaded = find_folder(folder), load_study(study)
    use_environment(cluster)
    if not force:
        refuse_failed_model(loaded, lambda: open_job_store(cluster.store))
    report = submit_study(loaded, study, cluster, tags=tags, dry_run=dry_run, again=again, trust_imported=trust)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
        return
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    if again:
        click.echo(f"study {report.study_hash}: {report.run_again} failed jobs run again")
        return
    if dry_run:
        from anodeflow.cli.output.tables import print_rows

        print_rows([asdict(job) for job in report.planned], as_json=False)
    verb = "submitted" if report.submitted else "would submit"
    click.echo(
        f"{verb} study {report.study_hash}: {report.jobs} jobs now, about {len(report.planned)} calculations in all, "
        f"{report.already_finished} of them finished in the store"
    )
    if report.submitted:
        click.echo("Next: anodeflow hpc launch --watch (sends what is due), anodeflow status")


def _submit_remote(
    file: Path, folder: Path | None, remote: str, tags: tuple[str, ...], dry_run: bool, again: bool, as_json: bool
) -> None:
    from anodeflow.workflows.cluster.folder import find_folder
    from anodeflow.workflows.cluster.remote import submit_remote
    from anodeflow.workflows.studies import load_study

    if again:
        raise InputError("--again is not for jobflow-remote", "use its own: jf job retry")
    project, _, worker = remote.rpartition("/")
    loaded = load_study(file)
    sizes = find_folder(folder) if folder is not None else None
    sent = submit_remote(loaded, worker, project or None, sizes, tags=tags, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"study_hash": loaded.hash, "submitted": bool(sent), "jobs": sent}))
    elif dry_run:
        click.echo(f"would submit study {loaded.hash} to worker {worker} of jobflow-remote")
    else:
        click.echo(
            f"submitted study {loaded.hash}: {len(sent)} jobs to worker {worker}\nNext: jf runner start, jf job list"
        )
