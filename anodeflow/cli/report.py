"""`anodeflow report`: a finished study as one HTML file."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import click

from anodeflow.cli.options import check_folder, json_text_option, store_option
from anodeflow.errors import InputError

_COLOURS_OF_A_TERMINAL = re.compile(r"\x1b\[[0-9;]*m")


@click.command()
@click.argument("study")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The .html to write.",
)
@click.option(
    "--pdf", type=click.Path(path_type=Path, dir_okay=False), help="Also print it to this .pdf; needs Chromium."
)
@store_option
@json_text_option
def report(study: str, output: Path, pdf: Path | None, store: Path, as_json: bool) -> None:
    """Write a page of STUDY (its file, its hash, or an archive of it) that opens without a network.

    Tables, figures, structures, and what every number rests on; nothing is computed, and no engine is needed.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"report '{output}' has no ending .html", "name it report.html")
    check_folder(output, "report")
    from anodeflow.cli.output.studies import imported_line
    from anodeflow.files import write_atomically
    from anodeflow.report.page import report_page
    from anodeflow.report.printing import chromium, print_to_pdf
    from anodeflow.report.record import read_record

    program = None
    if pdf is not None:
        if pdf.suffix.lower() != ".pdf":
            raise InputError(f"'{pdf}' has no ending .pdf", "name it report.pdf")
        check_folder(pdf, "report")
        program = chromium()

    record = read_record(study, store, imported_line)
    page = report_page(record, printed_study(record.document))
    try:
        write_atomically(output, page)
    except OSError as error:
        raise InputError(f"cannot write report '{output}': {error.strerror}", "choose another folder") from None
    if pdf is not None and program is not None:
        print_to_pdf(program, output, pdf)
    if as_json:
        summary = {"study_hash": record.document.study_hash, "file": str(output), "bytes": output.stat().st_size}
        click.echo(json.dumps(summary | ({"pdf": str(pdf)} if pdf is not None else {})))
    else:
        size = f"{output.stat().st_size / 1e6:.1f} MB"
        click.echo(f"{output}: study {record.document.study_hash}, {size}; open it in a browser")
        if pdf is not None:
            click.echo(f"{pdf}: the same on paper")


def printed_study(document: Any) -> str:
    """Return what the terminal shows of a study."""
    from anodeflow.cli.output.studies import print_study

    with contextlib.redirect_stdout(io.StringIO()) as text:
        print_study(document, as_json=False)
    return _COLOURS_OF_A_TERMINAL.sub("", text.getvalue()).strip("\n")
