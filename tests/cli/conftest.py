"""Commands run in this process: what they print, write and refuse, and how they go on after an interruption."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jsonschema
import numpy as np
import pytest
import specprobe_cli
from specprobe_cli.output import show

from specprobe.results import read_document
from specprobe.runtime.network import Network

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))

Run: TypeAlias = Callable[..., tuple[int, str, str]]
Document: TypeAlias = Callable[..., dict[str, Any]]


class Call(NamedTuple):
    """One evaluation of a model: its file, and the number of images."""

    model: str
    images: int


class Resumed(NamedTuple):
    """A document, the calls that it takes, and those that an interrupted run had left to do."""

    document: dict[str, Any]
    calls: list[Call]
    left: list[Call]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder, not made yet, of the partial results of every command."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; gives its exit code, and what it prints on stdout and on stderr."""

    def leave(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            specprobe_cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return leave


@pytest.fixture
def valid() -> Callable[[str], dict[str, Any]]:
    """Reads a document, which has to be JSON without NaN, valid by the published schema, and free of folders."""

    def read(text: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
        jsonschema.validate(content, SCHEMA)
        assert str(ROOT) not in text
        return content

    return read


@pytest.fixture
def document(run: Run, valid: Callable[[str], dict[str, Any]]) -> Document:
    """Runs a command that has to succeed; gives its document, which is valid."""

    def make(*words: str | Path) -> dict[str, Any]:
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return valid(out)

    return make


@pytest.fixture
def refusal(run: Run) -> Callable[..., str]:
    """Runs a command that has to leave with ``code`` and no result; gives what it says, as one line without a frame."""

    def refuse(*words: str | Path, code: int = 2) -> str:
        left, out, err = run(*words)
        assert (left, out) == (code, ""), err
        return " ".join(err.replace("│", " ").split())

    return refuse


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[[Any], str]:
    """Shows a table as commands do; gives its text."""

    def text(table: Any) -> str:
        show(table)
        return capsys.readouterr().out

    return text


@pytest.fixture
def files(run: Run, tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Runs a command that writes a file of each kind; gives the files, which hold the same, by their suffix."""

    def write(*words: str | Path) -> dict[str, Path]:
        made = {suffix: tmp_path / f"out{suffix}" for suffix in (".json", ".npz", ".png", ".svg", ".html")}
        destinations = (word for path in made.values() for word in ("-o", path))
        assert run(*words, "-q", *destinations) == (0, "", "")
        assert read_document(made[".json"]) == read_document(made[".npz"])
        assert made[".png"].read_bytes().startswith(b"\x89PNG")
        assert "<svg" in made[".svg"].read_text(encoding="utf-8")
        return made

    return write


@pytest.fixture
def unlabelled(tmp_path: Path) -> Callable[[Path, int], Path]:
    """Copies the first images of an ``.npz``, without their labels."""

    def copy(path: Path, count: int) -> Path:
        with np.load(path) as archive:
            np.savez(tmp_path / "unlabelled.npz", images=archive["images"][:count])
        return tmp_path / "unlabelled.npz"

    return copy


@contextmanager
def counted_calls(
    method: str, stop: Callable[[list[Call]], bool] = lambda made: False
) -> Iterator[list[Call]]:
    evaluate = getattr(Network, method)
    made: list[Call] = []

    def call(self: Network, images: Any, /, *arrays: Any, **settings: Any) -> Any:
        made.append(Call(self.path.name, len(images)))
        if stop(made):
            raise KeyboardInterrupt
        return evaluate(self, images, *arrays, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, method, call)
        yield made


@pytest.fixture
def counted() -> Callable[[str], AbstractContextManager[list[Call]]]:
    """Counts the calls of a method of networks, within a ``with``."""
    return counted_calls


@pytest.fixture
def resumed(run: Run, document: Document, cache: Path) -> Callable[..., Resumed]:
    """Runs a command whole, then until it is interrupted, then with ``--resume``, which has to end in the same document.

    ``stop`` is told the calls of a method of networks: those up to now, and those of the whole run.
    """

    def resume(
        *words: str | Path, stop: Callable[[list[Call], list[Call]], bool], method: str = "logits"
    ) -> Resumed:
        with counted_calls(method) as calls:
            whole = document(*words)
        with counted_calls(method, lambda made: stop(made, calls)):
            code, out, err = run(*words)
        assert (code, out) == (130, "")
        assert "--resume" in err
        with counted_calls(method) as left:
            again = document(*words, "--resume")
        assert again["result"] == whole["result"]
        assert again["data"] == whole["data"]
        assert not [path for path in cache.rglob("*") if path.is_file()], "nothing is kept of what is done"
        return Resumed(whole, calls, left)

    return resume
