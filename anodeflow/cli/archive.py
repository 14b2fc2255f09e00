"""`anodeflow export` and `anodeflow import`: a study as one file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anodeflow.cli.options import json_text_option, store_option
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from maggma.core import Store


@click.command("export")
@click.argument("study")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The .zip to write, also an RO-Crate."
)
@click.option(
    "--optimade",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the structures as OPTIMADE JSON Lines to this .jsonl.",
)
@click.option(
    "--structures",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the relaxed structures as CIF, POSCAR and extended XYZ into this folder.",
)
@click.option("--files/--no-files", default=True, show_default=True, help="Also what the codes wrote, if it is here.")
@store_option
@json_text_option
def export(
    study: str,
    output: Path | None,
    optimade: Path | None,
    structures: Path | None,
    files: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Write STUDY (its file, or the first digits of its hash) with all its documents to one archive."""
    if output is None and optimade is None and structures is None:
        raise InputError("nothing to write", "name -o STUDY.zip, --structures FOLDER or --optimade STUDY.jsonl")
    from anodeflow.workflows.store import open_job_store, store_shown
    from anodeflow.workflows.store.archive import export_study
    from anodeflow.workflows.studies.stored import finished_study

    opened = open_job_store(store, must_exist=True, read_only=True)
    text = Path(study).read_text() if Path(study).is_file() else None
    study_hash = finished_study(opened.docs_store, study, store_shown(store))
    if structures is not None:
        number = _write_structures(opened.docs_store, study_hash, structures)
        if output is None and optimade is None:
            click.echo(json.dumps({"study_hash": study_hash, "structures": number, "folder": str(structures)})
                       if as_json else f"{structures}/: {number} structures of study {study_hash}")  # fmt: skip
            return
        click.echo(f"{structures}/: {number} structures", err=True)
    if optimade is not None:
        from anodeflow.workflows.store.optimade import export_optimade

        number = export_optimade(opened, study_hash, optimade)
        if output is None:
            click.echo(json.dumps({"study_hash": study_hash, "structures": number, "file": str(optimade)}) if as_json
                       else f"{optimade}: study {study_hash}, {number} structures as OPTIMADE JSON Lines")  # fmt: skip
            return
        click.echo(f"{optimade}: {number} structures as OPTIMADE JSON Lines", err=True)
    assert output is not None  # noqa: S101 - refused above
    contents = export_study(opened, study_hash, output, submitted=text, files=files)
    if as_json:
        click.echo(json.dumps(asdict(contents) | {"file": str(output)}))
    else:
        click.echo(f"{output}: study {contents.study_hash}, {contents.documents} documents, {contents.files} files, "
                   f"{output.stat().st_size / 1e6:.1f} MB")  # fmt: skip


def _write_structures(store: Store, study_hash: str, folder: Path) -> int:
    """Write the last structure of every converged calculation of a study in three formats; return how many.

    Raises
    ------
    InputError, StoreError
        If the folder holds something or cannot be written, or the study has no structure.
    """
    from pymatgen.core import Structure

    from anodeflow.cli.output.structure_files import checked_folder, folder_beside
    from anodeflow.errors import StoreError
    from anodeflow.structures.written import ENDINGS, structure_text
    from anodeflow.workflows.jobs.folders import name_of_folder

    goal = checked_folder(folder, folder.name, force=False)
    wanted = {"index": 1, "metadata.study_hash": study_hash, "output.converged": True}
    outputs = {job["output"]["fingerprint"]: job["output"] for job in store.query(wanted)
               if job["output"].get("fingerprint") and isinstance(job["output"].get("structure"), dict)}  # fmt: skip
    if not outputs:
        raise StoreError(f"study {study_hash} has no converged structure", "run it first")
    with folder_beside(goal, "choose another folder") as fresh:
        for fingerprint, output in outputs.items():
            structure, label = Structure.from_dict(output["structure"]), str(output["label"])
            for kind, ending in ENDINGS.items():
                text = structure_text(structure, kind, label, output.get("energy_ev"))
                (fresh / f"{name_of_folder(label)[:60]}-{fingerprint[:8]}{ending}").write_text(text, encoding="utf-8")
        fresh.replace(goal)
    return len(outputs)


@click.command("import")
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only check the archive.")
@store_option
@json_text_option
def import_(archive: Path, check: bool, store: Path, as_json: bool) -> None:
    """Check ARCHIVE and put its study into a store."""
    from anodeflow.workflows.store.archive import import_study, verify_archive

    contents = verify_archive(archive)
    if not check:
        from anodeflow.workflows.store import open_job_store

        contents = import_study(archive, open_job_store(store))
    if as_json:
        click.echo(json.dumps(asdict(contents)))
    else:
        from anodeflow.workflows.store import store_shown

        done = "is sound" if check else f"is now in {store_shown(store)}"
        click.echo(f"{archive}: study {contents.study_hash} ({contents.study}), {contents.documents} documents, "
                   f"{contents.files} files, {done}")  # fmt: skip
