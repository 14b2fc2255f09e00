"""The studies of a store in a browser: an HTTP server on this machine alone, which reads and never writes."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from anodeflow.errors import AnodeflowError, InputError
from anodeflow.report.record import StudyRecord
from anodeflow.workflows.store import open_documents, store_shown
from anodeflow.workflows.store.fields import SUMMARY

#: The only address that is listened on.
ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")
_FILTERS = ("kind", "engine", "card", "state")
_STUDY = re.compile(r"/study/([0-9a-f]{16})")
_FINISHED, _UNFINISHED = "finished", "not finished"
_KEPT_PAGES = 8
_LONGEST_TEXT = 200
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_POLICY_OF_LIST = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# The page of a study has its own policy, with the digests of its scripts.
_POLICY_OF_STUDY = "frame-ancestors 'none'"


@dataclass
class _StudyRow:
    """What the list says of one study."""

    study_hash: str
    title: str = ""
    kind: str = ""
    engine: str = ""
    card: str = ""
    state: str = _UNFINISHED
    finished_at: str = ""
    warnings: int = 0

    @property
    def finished(self) -> bool:
        """Whether it has a page."""
        return self.state == _FINISHED


class Browser:
    """The pages of a store.

    Parameters
    ----------
    store
        A results file, database or cluster folder.
    record_of
        Returns a finished study by its hash.
    page_of
        Returns the page of a study, as `anodeflow report` writes it.
    """

    def __init__(
        self, store: Path, record_of: Callable[[str], StudyRecord], page_of: Callable[[StudyRecord], str]
    ) -> None:
        self._store, self._record_of, self._page_of = store, record_of, page_of
        self._pages: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._drawing = Lock()  # figures and printed tables are drawn by one thread at a time
        open_documents(store)  # what is wrong with it is said before anything listens

    def studies(self) -> list[_StudyRow]:
        """Return every study of the store, the newest first; those that have not finished at the end.

        Raises
        ------
        StoreError
            If the store is missing, locked or damaged.
        """
        documents = open_documents(self._store)
        fields = ["metadata", *(f"output.{name}" for name in (
            "study", "title", "engine", "card", "finished_at", "warnings"))]  # fmt: skip
        rows: dict[str, _StudyRow] = {}
        for job in documents.query({"metadata.label": SUMMARY, "index": 1}, fields):
            output, study_hash = job.get("output") or {}, str(job["metadata"]["study_hash"])
            rows[study_hash] = _StudyRow(
                study_hash,
                title=str(output.get("title") or ""),
                kind=str(output.get("study") or ""),
                engine=str((output.get("engine") or {}).get("name") or ""),
                card=str((output.get("card") or {}).get("name") or ""),
                state=_FINISHED,
                finished_at=str(output.get("finished_at") or ""),
                warnings=len(output.get("warnings") or []),
            )
        newest = sorted(rows.values(), key=lambda row: row.finished_at, reverse=True)
        for study_hash in sorted(set(map(str, documents.distinct("metadata.study_hash"))) - rows.keys()):
            job = documents.query_one({"metadata.study_hash": study_hash}, ["metadata"]) or {}
            newest.append(_StudyRow(study_hash, kind=str(job.get("metadata", {}).get("study") or "")))
        return newest

    def list_page(self, asked: dict[str, list[str]]) -> str:
        """Return the list of studies that match what was asked for.

        Parameters
        ----------
        asked
            Values of the filters, as in the address.
        """
        studies = self.studies()
        chosen = {name: asked.get(name, [""])[0][:_LONGEST_TEXT] for name in (*_FILTERS, "text")}
        rows = [
            row for row in studies if all(not chosen[name] or getattr(row, name) == chosen[name] for name in _FILTERS)
        ]
        text = chosen["text"].casefold()
        rows = [row for row in rows if text in row.title.casefold() or row.study_hash.startswith(text)]
        filters = [
            {"name": name, "chosen": chosen[name], "choices": sorted({getattr(row, name) for row in studies} - {""})}
            for name in _FILTERS
        ]
        return self._rendered("anodeflow", rows=rows, total=len(studies), filters=filters, text=chosen["text"])

    def study_page(self, study_hash: str) -> str:
        """Return the page of a study; drawn once for each time that it finished.

        Raises
        ------
        AnodeflowError
            If it is not there, or has not finished.
        """
        with self._drawing:
            record = self._record_of(study_hash)
            key = study_hash, str(record.document.finished_at)
            if key not in self._pages:
                self._pages[key] = self._page_of(record)
                while len(self._pages) > _KEPT_PAGES:
                    self._pages.popitem(last=False)
            self._pages.move_to_end(key)
            return self._pages[key]

    def message_page(self, heading: str, message: str) -> str:
        """Return a page of one line."""
        return self._rendered(heading, message=message)

    def _rendered(self, heading: str, **content: Any) -> str:
        import jinja2

        environment = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        here = files("anodeflow.report")
        blank = {"message": "", "rows": [], "total": 0, "filters": [], "text": "", "is_list": "rows" in content}
        shared = {"heading": heading, "store": store_shown(self._store),
                  "style": here.joinpath("report.css").read_text("utf-8")}  # fmt: skip
        return environment.from_string(here.joinpath("browse.html").read_text("utf-8")).render(blank | shared | content)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; everything else is refused."""

    server_version, sys_version = "anodeflow", ""
    timeout = 30

    def __init__(self, browser: Browser, *arguments: Any) -> None:
        self._browser = browser
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer a request for a page."""
        if not self._comes_from_here():
            # Another name leads here: a page of some other site asks, whose name was made to point to this machine.
            names = " or ".join(f"http://{name}:{self.server.server_port}/" for name in _NAMES)  # type: ignore[attr-defined]
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "Not this address", f"open {names}")
            return
        try:
            address = urlsplit(self.path)
            asked = parse_qs(address.query, max_num_fields=20)
        except ValueError:
            self._send(HTTPStatus.BAD_REQUEST, "Not an address", "the address cannot be read")
            return
        study = _STUDY.fullmatch(address.path)
        try:
            if address.path == "/":
                self._send_page(HTTPStatus.OK, self._browser.list_page(asked), _POLICY_OF_LIST)
            elif study is not None:
                self._send_page(HTTPStatus.OK, self._browser.study_page(study.group(1)), _POLICY_OF_STUDY)
            else:
                self._send(HTTPStatus.NOT_FOUND, "Not found", f"there is no page {address.path[:_LONGEST_TEXT]}")
        except InputError as error:
            self._send(HTTPStatus.NOT_FOUND, "Not found", str(error))
        except AnodeflowError as error:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "Cannot be shown", str(error))
        except ConnectionError:
            raise
        except Exception as error:  # one page that cannot be drawn must not end the others
            text = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "Cannot be shown", text)

    do_HEAD = do_GET  # noqa: N815 - as the base class names it

    def _comes_from_here(self) -> bool:
        port = self.server.server_port  # type: ignore[attr-defined]
        hosts = self.headers.get_all("Host") or []
        return len(hosts) == 1 and hosts[0].strip().lower() in {f"{name}:{port}" for name in _NAMES}

    def _send(self, status: HTTPStatus, heading: str, message: str) -> None:
        self._send_page(status, self._browser.message_page(heading, message), _POLICY_OF_LIST)

    def _send_page(self, status: HTTPStatus, page: str, policy: str) -> None:
        body = page.encode("utf-8", "replace")
        self.send_response(status)
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body)),
                   "Content-Security-Policy": policy, **_HEADERS}  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of requests."""


class _Server(ThreadingHTTPServer):
    """Requests at the same time; a browser that leaves in the middle is not an error."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See the base class."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def serve(browser: Browser, port: int) -> ThreadingHTTPServer:
    """Return a server that listens on this machine alone; 0 for any free port.

    Raises
    ------
    InputError
        If the port is in use, or may not be listened on.
    """
    try:
        return _Server((ADDRESS, port), partial(_Handler, browser))
    except OSError as error:
        raise InputError(
            f"port {port} of {ADDRESS} cannot be used: {error.strerror or error}", "choose another with --port"
        ) from None
