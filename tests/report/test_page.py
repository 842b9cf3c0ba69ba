"""The page stands alone, holds what it was given, and is harmless whatever names it is given."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import specprobe
from specprobe.analysis.filters import FilterStatistics
from specprobe.errors import DataError
from specprobe.report.page import alternative_text, page
from specprobe.results import document, from_document

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"
EVIL = "</script><script>alert('\u2028')</script>\"'&amp; <b>😀</b>"


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of scripts, styles and everything else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style", "title", "h1"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def inspected() -> tuple[dict[str, Any], Any]:
    images = specprobe.load_images(DIGITS / "test.npz", limit=30)
    result = specprobe.inspect(specprobe.load(DIGITS / "robust.onnx"), images)
    return document(result, model={"file": "robust.onnx"}, data={"name": "test.npz"}), result


@pytest.fixture(scope="module")
def text(inspected: tuple[dict[str, Any], Any]) -> str:
    return page([inspected[0]], results=[inspected[1]])


def test_nothing_outside_the_page_is_asked_for(text: str) -> None:
    for tag, attributes in Parsed(text).elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text
    assert not re.search(r"url\(", text)


def test_only_our_own_script_may_run(text: str) -> None:
    parsed = Parsed(text)
    (policy,) = [m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-"
    )
    _, script = parsed.text("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_page_has_what_readers_need(text: str, inspected: tuple[dict[str, Any], Any]) -> None:
    parsed = Parsed(text)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert parsed.text("title") == ["robust.onnx"] == parsed.text("h1")
    assert all(len(image["alt"] or "") > 40 for image in parsed.all("img"))
    assert parsed.all("img")[0]["alt"] == alternative_text(*inspected)
    assert "accuracy 0.967" in alternative_text(*inspected)
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    names = [attributes["download"] for attributes in parsed.all("a") if "download" in attributes]
    assert names == ["1-inspection.svg", "1-inspection.json"]
    anchors = {attributes.get("id") for _, attributes in parsed.elements}
    assert {(a["href"] or "")[1:] for a in parsed.all("a") if (a["href"] or "").startswith("#")} <= anchors
    assert len(text) < 3e6


def test_the_documents_can_be_read_back(text: str, inspected: tuple[dict[str, Any], Any]) -> None:
    parsed = Parsed(text)
    embedded, _ = parsed.text("script")
    assert json.loads(embedded) == json.loads(json.dumps(inspected[0]))
    (link,) = [a for a in parsed.all("a") if a.get("download") == "1-inspection.json"]
    held = base64.b64decode((link["href"] or "").partition(",")[2])
    assert from_document(json.loads(held)).to_dict() == inspected[1].to_dict()


def test_equal_results_give_equal_bytes(text: str, inspected: tuple[dict[str, Any], Any]) -> None:
    assert page([inspected[0]], results=[inspected[1]]) == text


def test_names_are_text_and_nothing_else(inspected: tuple[dict[str, Any], Any]) -> None:
    content = json.loads(json.dumps(inspected[0]))
    content["model"]["file"] = EVIL
    content["data"]["name"] = EVIL
    content["result"]["convolutions"][0]["name"] = EVIL
    content["result"]["findings"] = [{"level": "warning", "code": "x", "message": EVIL, "node": EVIL}]
    text = page([content], title=EVIL)
    parsed = Parsed(text)
    assert len(parsed.all("script")) == 2
    assert len(parsed.text("script")) == 2
    assert not parsed.all("b")
    assert "".join(parsed.text("h1")) == EVIL
    assert json.loads(parsed.text("script")[0]) == content
    shown = "".join(part for name, part in parsed.texts if name == "")
    assert shown.count(EVIL) >= 4


def test_several_results_are_listed(inspected: tuple[dict[str, Any], Any]) -> None:
    other = document(inspected[1].sensitivity, model={"file": "robust.onnx"})
    text = page([inspected[0], other])
    parsed = Parsed(text)
    assert "".join(parsed.text("h1")) == "robust.onnx"
    links = [a["href"] for a in parsed.all("a") if (a["href"] or "").startswith("#result")]
    assert links == ["#result-1", "#result-2"]
    assert len(json.loads(parsed.text("script")[0])) == 2


def test_what_has_no_figure_has_a_page_all_the_same() -> None:
    parsed = Parsed(page([document(FilterStatistics(), model={"file": "empty.onnx"})]))
    assert not parsed.all("img")
    assert [a["download"] for a in parsed.all("a") if "download" in a] == ["1-filter_statistics.json"]


def test_no_results_are_refused() -> None:
    with pytest.raises(DataError, match="no results to report"):
        page([])
    with pytest.raises(DataError, match="not a specprobe result"):
        page([{"schema": "other/1"}])
