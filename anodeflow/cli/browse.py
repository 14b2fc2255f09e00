"""`anodeflow browse`: the studies of a store in a browser."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import click

from anodeflow.cli.options import store_option


@click.command()
@store_option
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 for any that is free.")
@click.option("--open", "show", is_flag=True, help="Open it in the desktop's browser, where there is a screen.")
def browse(store: Path, port: int, show: bool) -> None:
    """Show the studies of a store in a browser, on this machine only and without changing anything.

    A list with filters, and of each finished study the page that `anodeflow report` writes.
    """
    from anodeflow.cli.output.studies import imported_line
    from anodeflow.cli.report import printed_study
    from anodeflow.cli.run import open_on_screen
    from anodeflow.report.browsing import ADDRESS, Browser, serve
    from anodeflow.report.page import report_page
    from anodeflow.report.record import read_record
    from anodeflow.workflows.store import store_shown

    browser = Browser(
        store,
        lambda study_hash: read_record(study_hash, store, imported_line),
        lambda record: report_page(record, printed_study(record.document)),
    )
    with serve(browser, port) as server:
        address = f"http://{ADDRESS}:{server.server_port}/"
        click.echo(f"{store_shown(store)}: {address}  (Ctrl-C ends)")
        if show:
            open_on_screen(address)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
