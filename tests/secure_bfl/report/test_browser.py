"""The page in a real browser: it loads nothing, needs no script, prints, and can be read on a phone."""

import json
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from secure_bfl.report import html
from tests.secure_bfl.report.made_up import signed

POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
PHONE = 390

MEASURE = """<script>
const style = (node) => getComputedStyle(node);
const scale = (node) => { const svg = node.closest('svg'); return svg ? svg.getBoundingClientRect().width / 640 : 1; };
const sizes = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = walker.nextNode(); text; text = walker.nextNode()) {
  const node = text.parentElement;
  if (!text.data.trim() || ['SCRIPT', 'STYLE', 'title', 'desc'].includes(node.tagName)) continue;
  if (node.getClientRects().length) sizes.push(parseFloat(style(node).fontSize) * scale(node));
}
const ends = (what) => Math.max(...[...document.querySelectorAll(what)].map((n) => n.getBoundingClientRect().right));
document.documentElement.setAttribute('data-measured', JSON.stringify({
  inner: innerWidth, page: document.documentElement.scrollWidth, least: Math.min(...sizes), texts: sizes.length,
  plots: ends('svg'), words: ends('svg text'), cards: ends('.cards td'),
}));
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        message = "no browser: install Debian's package `chromium`"
        if "chromium" in os.environ.get("SECURE_BFL_NEEDS", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def page() -> str:
    return html(signed())


class Browser:
    """One headless browser with a profile of its own for each run."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder, self._runs = program, folder, 0

    def run(self, target: str, *options: str) -> bytes:
        self._runs += 1
        fixed = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")
        quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
        profile = f"--user-data-dir={self._folder / f'profile-{self._runs}'}"
        command = [self._program, *fixed, *quiet, profile, *options, target]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        return done.stdout

    def file(self, name: str, text: str) -> str:
        path = self._folder / name
        path.write_text(text, "utf-8")
        return path.as_uri()

    def picture(self, text: str, *options: str, width: int = 900) -> bytes:
        out = self._folder / f"picture-{self._runs}.png"
        self.run(self.file("page.html", text), *options, f"--window-size={width},2500", f"--screenshot={out}")
        data = out.read_bytes()
        assert data.startswith(b"\x89PNG")
        return data


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(chromium, tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def plain(browser: Browser, page: str) -> bytes:
    return browser.picture(page)


class Server(ThreadingHTTPServer):
    """Serves one page, and stands in as the proxy for every other address; remembers what it was asked."""

    def __init__(self, page: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.page, self.asked = page.encode(), list[str]()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        mine = self.path == f"http://report.invalid:{self.server.server_port}/"
        self.send_response(200 if mine else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if mine:
            self.wfile.write(self.server.page)

    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(502)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(page: str) -> Iterator[Server]:
    running = Server(page)
    Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_it_loads_nothing(browser: Browser, server: Server) -> None:
    address = f"http://report.invalid:{server.server_port}/"
    dom = browser.run(address, f"--proxy-server=127.0.0.1:{server.server_port}", "--dump-dom")
    assert b"handwritten digits" in dom
    asked = [path for path in server.asked if "report.invalid" in path]
    assert address in asked
    assert set(asked) <= {address, f"{address}favicon.ico"}


def test_it_looks_the_same_when_loading_is_forbidden(browser: Browser, page: str, plain: bytes) -> None:
    assert browser.picture(page.replace("<meta charset", f"{POLICY}<meta charset")) == plain
    assert browser.picture(page.replace("ledger.example", "ledger.invalid")) != plain


def test_it_needs_no_script(browser: Browser, page: str, plain: bytes) -> None:
    address = browser.file("inner.html", page)
    frame = (
        "<body style='margin:0'><iframe {} src='{}' style='border:0;display:block;width:900px;height:2500px'></iframe>"
    )
    blank = browser.picture("<body style='margin:0'></body>")
    for sandbox in ("sandbox", ""):
        # The browser may take its picture before the frame has come: then again.
        pictures = (browser.picture(frame.format(sandbox, address)) for _ in range(5))
        assert next(picture for picture in pictures if picture != blank) == plain


def test_it_has_a_dark_side(browser: Browser, page: str, plain: bytes) -> None:
    assert browser.picture(page, "--blink-settings=preferredColorScheme=0") != plain


def streams(pdf: bytes) -> list[bytes]:
    """The decompressed streams of a PDF."""
    found = []
    for match in re.finditer(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            found.append(zlib.decompress(match[1]))
        except zlib.error:
            continue
    return found


def test_it_prints(browser: Browser, page: str, tmp_path: Path) -> None:
    out = tmp_path / "report.pdf"
    browser.run(browser.file("page.html", page), f"--print-to-pdf={out}", "--no-pdf-header-footer")
    pdf = out.read_bytes()
    assert pdf.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
    assert 3 <= pages <= 30
    written = [stream for stream in streams(pdf) if b"Tj" in stream or b"TJ" in stream]
    assert len(written) >= pages
    assert min(len(stream) for stream in written) > 200


def measured(browser: Browser, text: str) -> dict[str, float]:
    """What the page measures in a frame as wide as a phone; a window of the browser itself cannot be so narrow."""
    inner = escape(text.replace("</body>", f"{MEASURE}</body>"))
    frame = f'<iframe style="border:0;width:{PHONE}px;height:2000px" srcdoc="{inner}"></iframe>'
    copy = "<script>onload = () => document.body.append(frames[0].document.documentElement.dataset.measured)</script>"
    dom = browser.run(browser.file("phone.html", f"<body>{copy}{frame}"), "--dump-dom").decode()
    found: dict[str, float] = json.loads(re.findall(r'</iframe>({"inner".*?})', dom)[0])
    return found


def test_it_is_legible_on_a_phone(browser: Browser, page: str) -> None:
    found = measured(browser, page)
    assert found["inner"] == PHONE
    assert found["texts"] > 300
    assert found["page"] <= found["inner"]
    assert found["least"] >= 12
    assert found["plots"] <= PHONE
    assert found["words"] <= PHONE
    assert found["cards"] <= PHONE


def test_the_measure_finds_what_does_not_fit(browser: Browser, page: str) -> None:
    wide = measured(browser, page.replace("</main>", "<pre style='font-size:8px'>" + "wide " * 300 + "</pre></main>"))
    assert wide["page"] > wide["inner"]
    assert wide["least"] == 8
