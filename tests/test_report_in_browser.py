"""A report and the pages of `anodeflow browse` in headless Chromium: opened from disk, clicked through, printed."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from needs import CHROMIUM, needs_browser

from anodeflow.cli.main import cli
from anodeflow.cli.output.studies import imported_line
from anodeflow.cli.report import printed_study
from anodeflow.report.browsing import ADDRESS, Browser, serve
from anodeflow.report.page import report_page
from anodeflow.report.record import read_record

pytestmark = [pytest.mark.slow, needs_browser]

ARCHIVE = Path(__file__).parent.parent / "examples" / "dft" / "results" / "adsorption-li9al4.zip"
DESKTOP, PHONE, PAPER = (1280, 900), (390, 844), (794, 1123)
# Chromium without a graphics card; the machine may be busy.
_ARGUMENTS = ["--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
_PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as programs:
        browser = programs.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS, timeout=_PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of an imported archive, and the processor seconds that it took."""
    folder = tmp_path_factory.mktemp("report")
    runner = CliRunner()
    store = ["--store", str(folder / "s.sqlite")]
    assert runner.invoke(cli, ["import", str(ARCHIVE), *store], catch_exceptions=False).exit_code == 0
    began = time.process_time()
    file = folder / "report.html"
    done = runner.invoke(cli, ["report", "1b677b6f43832712", "-o", str(file), *store], catch_exceptions=False)
    assert done.exit_code == 0
    return folder, file, time.process_time() - began


class Opened:
    """A page of its own context, which remembers what it asked for and what went wrong."""

    def __init__(self, chromium, size, offline=True):
        self.context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, offline=offline, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(_PATIENCE_MS)
        self.requests, self.problems = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))

    def violations(self):
        """Return what axe-core finds: contrast, names of controls, alternative texts."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [(rule["id"], [node["html"][:120] for node in rule["nodes"][:3]]) for rule in found]

    def overflow(self):
        """Return by how many pixels the page is wider than the window, once everything is drawn."""
        self.page.wait_for_timeout(500)
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.fixture(scope="module")
def opened(chromium, made):
    desktop = Opened(chromium, DESKTOP)
    desktop.page.goto(made[1].as_uri())
    desktop.page.wait_for_selector("figure.drawn")
    desktop.page.wait_for_selector(".view canvas")
    yield desktop
    desktop.context.close()


def test_it_is_made_in_10_s_and_has_8_mb(made):
    _, file, seconds = made
    assert seconds < 10
    assert file.stat().st_size < 8e6


def test_it_asks_no_network_and_nothing_fails(opened, made):
    assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [made[1].as_uri()]
    assert opened.problems == []


def test_contrast_names_and_alternative_texts(opened):
    assert opened.violations() == []


def test_a_table_is_sorted_and_filtered(opened):
    box = opened.page.locator(".table[data-name=calculations]")
    head = box.locator("th", has_text="energy")
    column = head.evaluate("cell => cell.cellIndex")

    def energies():
        cells = box.locator(f"tbody tr:visible td:nth-child({column + 1})").all()
        return [float(cell.get_attribute("data-value")) for cell in cells]

    head.locator("button").click()
    assert energies() == sorted(energies())
    head.locator("button").click()
    assert energies() == sorted(energies(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    box.locator("input.filter").fill("surface")
    assert len(energies()) == 2
    assert box.locator(".count").inner_text().startswith("2 of ")
    with opened.page.expect_download() as download:
        box.locator("button.csv").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 3
    box.locator("input.filter").fill("")


def test_a_structure_turns(opened):
    opened.page.locator("#structure").select_option(label="Li9Al4/surface/top-1")
    view = opened.page.locator(".view").first
    view.locator("canvas").wait_for()
    view.scroll_into_view_if_needed()
    before = view.screenshot()
    place = view.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    opened.page.mouse.move(x, y)
    opened.page.mouse.down()
    opened.page.mouse.move(x + 90, y + 40, steps=4)
    opened.page.mouse.up()
    opened.page.wait_for_timeout(300)
    assert view.screenshot() != before
    assert opened.problems == []


def test_a_number_leads_to_its_native_input(opened):
    link = opened.page.locator(".table[data-name=sites] tbody a.fp").first
    target = link.get_attribute("href")
    link.click()
    calculation = opened.page.locator(f"details{target}")
    assert calculation.evaluate("part => part.open")
    native = calculation.locator("details").first  # of GPAW, what its output says that it was given
    native.locator("summary").click()
    assert native.locator("pre").is_visible()
    assert "Input parameters" in native.locator("pre").inner_text()


def test_a_phone_shows_all_of_it(chromium, made):
    phone = Opened(chromium, PHONE)
    phone.page.goto(made[1].as_uri())
    phone.page.wait_for_selector("figure.drawn")
    assert phone.overflow() <= 0
    assert phone.violations() == []
    phone.context.close()


def test_it_prints(chromium, made):
    paper = Opened(chromium, PAPER)
    paper.page.goto(made[1].as_uri())
    paper.page.wait_for_selector("figure.drawn")
    paper.page.emulate_media(media="print")
    assert paper.overflow() <= 0
    assert paper.page.locator("figure img").first.is_visible()
    assert not paper.page.locator("nav").is_visible()
    assert paper.page.pdf(format="A4").startswith(b"%PDF")
    paper.context.close()


def test_pdf_is_printed_by_the_command(made):
    folder = made[0]
    pdf, page = folder / "report.pdf", folder / "again.html"
    asked = ["report", "1b677b6f43832712", "--store", str(folder / "s.sqlite"), "-o", str(page), "--pdf", str(pdf)]
    assert CliRunner().invoke(cli, asked, catch_exceptions=False).exit_code == 0
    assert pdf.read_bytes().startswith(b"%PDF")
    assert pdf.stat().st_size > 20_000


def test_titles_are_text(chromium, made):
    folder, _, _ = made
    record = read_record(str(ARCHIVE), folder / "s.sqlite", imported_line)
    record.document.title = title = '<script>alert(1)</script><img src=x onerror=alert(2)> & "Li"'
    file = folder / "<b>hostile.html"
    file.write_text(report_page(record, printed_study(record.document)), "utf-8")
    page = Opened(chromium, DESKTOP)
    page.page.goto(file.as_uri())
    assert page.page.locator("h1").inner_text() == title
    assert page.problems == []
    page.context.close()


def test_the_pages_of_browse(chromium, made):
    folder, _, _ = made
    store = folder / "s.sqlite"
    browser = Browser(
        store,
        lambda study_hash: read_record(study_hash, store, imported_line),
        lambda record: report_page(record, printed_study(record.document)),
    )
    with serve(browser, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        listed = Opened(chromium, DESKTOP, offline=False)
        listed.page.goto(f"http://{ADDRESS}:{server.server_port}/")
        assert listed.violations() == []
        listed.page.locator("select[name=kind]").select_option("binding-energy")
        listed.page.locator("form button").first.click()
        listed.page.wait_for_url("**/*kind=binding-energy*")
        assert listed.page.locator("tbody tr").count() == 1
        listed.page.locator("tbody a").first.click()
        listed.page.wait_for_selector("figure.drawn")
        assert "/study/1b677b6f43832712" in listed.page.url
        listed.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        listed.page.go_back()
        assert listed.overflow() <= 0
        asked = {urlsplit(url).netloc for url in listed.requests if url.startswith("http")}
        assert asked == {f"{ADDRESS}:{server.server_port}"}
        assert listed.problems == []
        listed.context.close()
        server.shutdown()
