"""`anodeflow audit`: look for what would go wrong with a potential, before it is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.exits import WITHOUT_RESULT
from anodeflow.cli.options import json_option, store_option

if TYPE_CHECKING:
    from jobflow import JobStore

    from anodeflow.analysis.audits import AuditDoc
    from anodeflow.workflows.jobs.audit import AuditSettings
    from anodeflow.workflows.jobs.audit_interfaces import KnownInterface
    from anodeflow.workflows.studies.base import Study


@click.command()
@click.argument("engine")
@click.option("--phases", help="Crystals, with commas.  [default: those of anodes, electrolytes and interphases]")
@click.option("--temperature", "temperature_k", type=float, default=600.0, show_default=True, help="Of dynamics, K.")
@click.option("--picoseconds", type=float, default=1.0, show_default=True, help="Of dynamics of each phase.")
@click.option("--minutes", type=float, default=20.0, show_default=True, help="After which it ends, and says so.")
@click.option("--numbers", is_flag=True, help="Also surface and formation energies and elastic moduli.")
@click.option(
    "--interfaces",
    "archives",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --numbers: also the interface energies of an archive with electrons, beside its own; may be repeated.",
)
@click.option("--beside", help="Another potential, such as the base of a tuned one: one table of both.")
@click.option("--again", is_flag=True, help="Also where the store holds an audit of this model.")
@store_option
@json_option
def audit(
    engine: str,
    phases: str | None,
    temperature_k: float,
    picoseconds: float,
    minutes: float,
    numbers: bool,
    archives: tuple[Path, ...],
    beside: str | None,
    again: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Audit ENGINE, a potential or its model file: holes at short distances, cells, drift, short dynamics.

    The verdict is kept in the store; dynamics with a model file that failed are refused.
    """
    from anodeflow.workflows.local.defaults import default_workers

    # before the model's library starts: more threads than cores that are free take many times as long
    os.environ.setdefault("OMP_NUM_THREADS", str(default_workers()[1]))
    from pydantic import ValidationError

    from anodeflow.cli.output.audits import print_audit, print_both
    from anodeflow.cli.output.console import print_json
    from anodeflow.errors import InputError
    from anodeflow.structures.catalogue import load_crystal
    from anodeflow.workflows.jobs.audit import AuditSettings, potential_named
    from anodeflow.workflows.jobs.audit_interfaces import check_phases_of, known_interfaces
    from anodeflow.workflows.store import open_job_store

    if archives and not numbers:
        raise InputError("--interfaces gives numbers", "add --numbers")
    interfaces = known_interfaces(archives)

    given: dict[str, Any] = {
        "temperature_k": temperature_k, "picoseconds": picoseconds, "minutes": minutes, "numbers": numbers,
        "interfaces": tuple(sorted(known.fingerprint for known in interfaces)),
    }  # fmt: skip
    if phases is not None:
        given["phases"] = tuple(dict.fromkeys(filter(None, map(str.strip, phases.split(",")))))
        if not given["phases"]:
            raise InputError(f"--phases '{phases}' names no crystal", "name some, with commas, or leave it out")
    try:
        settings = AuditSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).removesuffix("_k")
        raise InputError(f"--{option}: {first['msg'].lower()}", "see anodeflow audit --help") from None
    check_phases_of(interfaces, settings.phases)
    names = [engine, *([beside] if beside else [])]
    for name in names:
        potential_named(name).record()  # refuses an engine that is not there before anything is computed
    for phase in settings.phases:
        load_crystal(phase)
    job_store = open_job_store(store)
    documents = [_audit(job_store, name, settings, again, interfaces) for name in names]
    document = documents[0]
    if as_json:
        content = [doc.model_dump(mode="json") | {"passed": doc.passed} for doc in documents]
        print_json(content if beside else content[0])
    else:
        print_audit(document)
        if beside:
            print_both(*documents)
    if not document.passed:
        raise SystemExit(WITHOUT_RESULT)


def _audit(
    job_store: JobStore, engine: str, settings: AuditSettings, again: bool, interfaces: Sequence[KnownInterface]
) -> AuditDoc:
    """Return the audit of a potential: the store's, or a fresh one, which is then kept."""
    from anodeflow.workflows.jobs.audit import audit_key, audited, keep_audit, potential_named, stored_audit

    document = None if again else stored_audit(job_store, audit_key(potential_named(engine).record(), settings))
    if document is None or document.unfinished:
        tell = lambda text: click.echo(f"audit: {engine}: {text}", err=True)  # noqa: E731
        document = audited(engine, settings, tell, interfaces)
        keep_audit(job_store, document)
    return document


def refuse_failed_model(study: Study, open_store: Callable[[], JobStore]) -> None:
    """Refuse dynamics with a model file of the user that failed its audit.

    Parameters
    ----------
    study
        What is to be run.
    open_store
        Opens the store that may hold the audit; called where the study moves atoms by a model file.

    Raises
    ------
    EngineError
        With the first problem of the audit.
    """
    if ":" in study.engine and study.moving_frames():
        from anodeflow.workflows.jobs.audit import refuse_failed

        refuse_failed(open_store(), [study.engine])
