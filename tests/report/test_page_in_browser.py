"""The page in a real browser: it complains about nothing and asks the network for nothing."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import specprobe
from specprobe.report.page import page
from specprobe.results import document

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]


def visit(path: Path, folder: Path, *options: str) -> tuple[str, str, list[str]]:
    """What is on the page after its script ran, what the console says, and the addresses that were asked for."""
    log = folder / "net.json"
    words = [*QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", *options]
    done = subprocess.run(
        [str(CHROMIUM), *words, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=os.environ | {"HOME": str(folder)},
    )
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    events: list[dict[str, Any]] = json.loads(log.read_text(encoding="utf-8"))["events"]
    asked = [event.get("params", {}) for event in events]
    # What the browser asks for on its own account has no origin.
    urls = [each["url"] for each in asked if each.get("initiator", "not an origin") != "not an origin"]
    return done.stdout, console, urls


@pytest.fixture
def written(tmp_path: Path) -> Path:
    images = specprobe.load_images(DIGITS / "test.npz", limit=10)
    result = specprobe.inspect(specprobe.load(DIGITS / "robust.onnx"), images)
    content = document(result, model={"file": "<script>console.error('ran')</script>😀.onnx"})
    path = tmp_path / "report.html"
    path.write_text(page([content], results=[result]), encoding="utf-8")
    return path


def test_a_browser_shows_it_and_has_no_complaint(written: Path, tmp_path: Path) -> None:
    dom, console, urls = visit(written, tmp_path)
    assert console == ""
    assert urls == []
    assert dom.count('<button type="button">') >= 4  # the script of the page ran: columns can be sorted
    assert "&lt;script&gt;console.error('ran')&lt;/script&gt;😀.onnx" in dom


def test_a_script_that_is_not_the_pages_own_is_stopped(written: Path, tmp_path: Path) -> None:
    text = written.read_text(encoding="utf-8")
    written.write_text(
        text.replace("</main>", "<script>document.title = 'taken'</script></main>"), encoding="utf-8"
    )
    dom, console, _ = visit(written, tmp_path)
    assert "Content Security Policy" in console
    assert "<title>taken" not in dom


def test_a_picture_from_elsewhere_would_be_seen(written: Path, tmp_path: Path) -> None:
    text = written.read_text(encoding="utf-8")
    start = text.index("<meta http-equiv")
    without = text[:start] + text[text.index(">", start) + 1 :]
    written.write_text(
        without.replace("</main>", '<img src="http://localhost:9/x.png" alt=""></main>'), encoding="utf-8"
    )
    assert any("localhost:9" in url for url in visit(written, tmp_path)[2])
