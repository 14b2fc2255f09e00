"""`anodeflow browse`: a server for this machine that shows a store and never changes it."""

import hashlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from factories import STUDY_HASH, finished_job

from anodeflow.cli.output.studies import imported_line
from anodeflow.cli.report import printed_study
from anodeflow.errors import InputError, StoreError
from anodeflow.report.browsing import Browser, serve
from anodeflow.report.page import report_page
from anodeflow.report.record import read_record
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import import_study

sys.path.insert(0, str(Path(__file__).parent / "cluster"))
from archives import arrays_of, calculation, summary

HOSTILE = '<script>alert(1)</script> & "co"'
OTHER = "fedcba9876543210"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("browse") / "a <b> store.sqlite"
    store = open_job_store(place)
    store.additional_stores["data"].update([arrays_of(1)])
    unfinished = finished_job(7, "Li/crystal", calculation())
    unfinished["metadata"] = unfinished["metadata"] | {"study_hash": OTHER, "study": "voltage"}
    jobs = [
        finished_job(2, "summary", summary(title=HOSTILE)),
        finished_job(1, "Li/crystal", calculation()),
        unfinished,
    ]
    store.docs_store.update(jobs, ["uuid", "index"])
    store.close()
    return place


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A store with a study that was computed, and its hash."""
    place = tmp_path_factory.mktemp("computed") / "s.sqlite"
    archive = Path(__file__).parent.parent / "examples" / "dft" / "results" / "surface-li.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANODEFLOW_RUNS", str(place.parent / "runs"))
        return place, import_study(archive, open_job_store(place)).study_hash


@pytest.fixture(scope="module")
def server(store):
    def record(study_hash):
        return read_record(study_hash, store, imported_line)

    with serve(Browser(store, record, lambda found: f"<p>ä page of {found.document.study_hash}</p>"), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def ask(server):
    def ask(path, method="GET", host=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        try:
            connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()

    return ask


def test_the_list_shows_titles_as_text(ask):
    status, page, headers = ask("/")
    assert status == 200
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;co&#34;" in page
    assert "a &lt;b&gt; store.sqlite" in page
    assert f'href="/study/{STUDY_HASH}"' in page
    assert f'href="/study/{OTHER}"' not in page  # it has not finished
    assert OTHER in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("query", "shown"), [
    ("state=finished", {STUDY_HASH}),
    ("state=not+finished", {OTHER}),
    ("kind=voltage", {OTHER}),
    ("engine=springs&kind=crystal-properties", {STUDY_HASH}),
    ("engine=vasp", set()),
    ("text=ALERT", {STUDY_HASH}),
    ("text=fedc", {OTHER}),
    ("text=%3Cscript%3E", {STUDY_HASH}),
    ("unknown=1", {STUDY_HASH, OTHER}),
])  # fmt: skip
def test_filters(ask, query, shown):
    status, page, _ = ask(f"/?{query}")
    assert status == 200
    assert {name for name in (STUDY_HASH, OTHER) if f"<code>{name}</code>" in page} == shown
    assert f"{len(shown)} of 2 studies" in page
    assert "<script" not in page


def test_a_study_has_a_page(ask):
    status, page, headers = ask(f"/study/{STUDY_HASH}")
    assert status == 200
    assert page == f"<p>ä page of {STUDY_HASH}</p>"
    assert headers["X-Frame-Options"] == "DENY"
    status, body, headers = ask(f"/study/{STUDY_HASH}", method="HEAD")
    assert (status, body) == (200, "")
    assert headers["Content-Length"] == str(len(page.encode()))


@pytest.mark.parametrize(("path", "status"), [
    (f"/study/{OTHER}", 404), ("/study/ffffffffffffffff", 404), ("/study/../../etc/passwd", 404),
    ("/%3Cscript%3E", 404), ("/favicon.ico", 404), ("//evil.example/", 404), ("/study/", 404),
    ("/?" + "&".join(f"a{n}=1" for n in range(100)), 400),
])  # fmt: skip
def test_what_is_not_there(ask, path, status):
    got, page, _ = ask(path)
    assert got == status
    assert "<script" not in page


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example"]
)
def test_another_host_is_refused(ask, host):
    for path in ("/", f"/study/{STUDY_HASH}"):
        status, page, _ = ask(path, host=host)
        assert status == 421
        assert STUDY_HASH not in page
        assert "open http://127.0.0.1:" in page


def test_localhost_is_this_machine(ask, server):
    assert ask("/", host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_takes_nothing(ask, store, method):
    before = hashlib.sha256(store.read_bytes()).hexdigest()
    assert ask(f"/study/{STUDY_HASH}", method=method)[0] == 501
    assert hashlib.sha256(store.read_bytes()).hexdigest() == before


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_one_line(store, server, command):
    with pytest.raises(InputError, match=r"port \d+ of 127\.0\.0\.1 cannot be used: Address already in use"):
        serve(Browser(store, None, None), server.server_port)
    status, out, err = command("browse", "--store", store, "--port", server.server_port)
    assert (status, out) == (InputError.exit_code, "")
    assert len(err.strip().splitlines()) == 1


def test_a_store_that_is_not_there(tmp_path, command):
    status, _, err = command("browse", "--store", tmp_path / "none.sqlite")
    assert status == StoreError.exit_code
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_damaged_meanwhile(store, tmp_path, monkeypatch):
    place = tmp_path / "s.sqlite"
    place.write_bytes(store.read_bytes())
    browser = Browser(place, None, None)
    place.write_bytes(b"no database" * 1000)
    with serve(browser, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 503
        assert "is damaged" in answer.read().decode()
        server.shutdown()


def test_the_command_serves_until_it_is_stopped(computed):
    store, study_hash = computed
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "anodeflow", "browse", "--store", str(store), "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )  # fmt: skip
    try:
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/study/{study_hash}")
        page = connection.getresponse().read().decode()
        record = read_record(study_hash, store, imported_line)
        assert page == report_page(record, printed_study(record.document))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
