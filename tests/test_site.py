"""The documentation's site: pages and links without mkdocs, and what its pages run and print."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

import specprobe
from specprobe.audit.config import ANALYSES, read_config, tables

ROOT = Path(specprobe.__file__).parent.parent
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
BARS = re.compile("[\u2580-\u259f\u2502\u2503]+")


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n?^```$", text(page), re.DOTALL | re.MULTILINE)


def leaves(nav: Any) -> Iterator[str]:
    """Pages of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from leaves(part)


def anchors(page: str) -> set[str]:
    """Names of headings, as Python-Markdown makes them."""
    plain = re.sub(r"^```.*?^```$", "", text(page), flags=re.DOTALL | re.MULTILINE)
    heads = [
        re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", head)
        for head in re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    ]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(leaves(SITE["nav"])) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_links_stay_in_the_site_and_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text(page)):
        path, _, anchor = target.partition("#")
        file = (DOCS / page).parent / path if path else DOCS / page
        assert file.resolve().is_file(), f"{page} links to {target}"
        assert file.resolve().is_relative_to(DOCS), f"{page} links out of the site, to {target}"
        if anchor:
            assert anchor in anchors(file.resolve().relative_to(DOCS).as_posix()), f"{page} links to {target}"


def test_the_site_asks_no_other_host() -> None:
    # What Material for MkDocs would fetch in a reader's browser: fonts, repository facts, analytics, other scripts.
    assert SITE["theme"]["font"] is False
    assert not {"repo_url", "extra_css", "extra_javascript", "extra"} & set(SITE)


def test_the_reference_has_every_public_name() -> None:
    told = re.findall(r"^::: (\S+)$", text("reference/python.md"), re.MULTILINE)
    assert {f"specprobe.{name}" for name in specprobe.__all__ if name != "__version__"} <= set(told)


def test_the_page_on_audits_names_every_key_and_setting() -> None:
    page = text("audit.md")
    keys = re.findall(r"[\w_]+(?= = )", "\n".join(blocks("audit.md", "toml")))
    keys += re.findall(r"`(\w+)`", page)
    for accepted in (tables.SECTIONS, tables.DATA, tables.RECIPE, tables.RUN, tables.CHECK, tables.WAIVER):
        assert set(accepted) - set(keys) <= {"check", "data", "recipe", "run", "waiver"}
    rows = re.findall(r"^\| `([a-z]+)[`.].*\|(.*)\|$", page, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", settings)) for name, settings in rows if name in ANALYSES}
    assert told == {name: set(settings) for name, settings in ANALYSES.items()}


def test_the_configuration_on_the_page_is_one(tmp_path: Path) -> None:
    (block,) = blocks("audit.md", "toml")
    (tmp_path / "specprobe.toml").write_text(block, encoding="utf-8")
    audit = read_config(tmp_path / "specprobe.toml")
    assert [check.name for check in audit.checks] == [
        "robust",
        "quantised as the original",
        "sensitivity stays low",
    ]
    assert audit.waivers[0].check == "robust"


@pytest.mark.parametrize("file", sorted(DOCS.glob("audits/*.toml")), ids=lambda path: path.name)
def test_configurations_are_read(file: Path) -> None:
    assert len(read_config(file).checks) > 3


def bash(command: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    return done.returncode, done.stdout + done.stderr


def same(shown: str, printed: str) -> bool:
    """The same words, and numbers that agree within 5 % or 0.02; bars aside."""
    shown, printed = (" ".join(BARS.sub(" ", line).split()) for line in (shown, printed))
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=0.05, abs=0.02) for a, b in pairs)


def check_shown(shown: str, printed: str) -> None:
    """Lines that a page shows were printed, in their order; ``…`` stands for lines left out."""
    lines = iter(printed.splitlines())
    for line in shown.splitlines():
        if line not in {"", "…"}:
            assert any(same(line, other) for other in lines), f"not printed, or not here: {line}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("models", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.slow
def test_the_tutorial_runs_and_prints_what_it_shows(clone: Path) -> None:
    readme = re.findall(
        r"```console\n(.*?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    script = clone / "tutorial.py"
    parts = re.findall(r"^```(\w+)\n(.*?)\n^```$", text("tutorial.md"), re.DOTALL | re.MULTILINE)
    assert parts[0] == ("console", readme[0])
    printed = ""
    for language, block in parts:
        if language == "text":
            check_shown(block, printed)
            continue
        if language == "python":
            script.write_text(block, encoding="utf-8")
        command = f"python {script.name}" if language == "python" else block.rpartition("&& .venv/bin/")[2]
        code, printed = bash(command.replace(". .venv/bin/activate\n", ""), clone)
        assert code == int(command.startswith("specprobe audit")), printed
    assert (clone / "build" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_the_page_on_audits_runs_and_prints_what_it_shows(clone: Path) -> None:
    (commands,) = blocks("audit.md", "console")
    first, second = commands.splitlines()
    code, printed = bash(first, clone)
    assert code == 1
    check_shown(blocks("audit.md", "text")[0], printed)
    assert bash(second, clone)[0] == 0


@pytest.mark.slow
def test_the_page_on_pytest_runs_and_prints_what_it_shows(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "specprobe.toml").write_text(blocks("pytest.md", "toml")[0], encoding="utf-8")
    (clone / "test_own.py").write_text(blocks("pytest.md", "python")[0], encoding="utf-8")
    (command,) = blocks("pytest.md", "console")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # of plugins installed here, this one alone
    plugin = "-p specprobe.pytest_plugin -p no:cacheprovider --rootdir ."
    code, printed = bash(f"{command} {plugin}", clone)
    assert code == 1
    check_shown(blocks("pytest.md", "text")[0], re.sub(r" +\[ *\d+%\]", "", printed))
    code, printed = bash(f"pytest test_own.py {plugin}", clone)
    assert (code, "1 failed, 3 passed" in printed) == (1, True), printed


@pytest.mark.assets
@pytest.mark.slow
def test_three_trainings_are_judged_as_the_page_shows(tmp_path: Path, assets: Path) -> None:
    shutil.copy(DOCS / "audits" / "triple.toml", tmp_path / "triple.toml")
    (tmp_path / "assets").symlink_to(assets)
    code, printed = bash("specprobe audit -c triple.toml", tmp_path)
    assert code == 1
    check_shown(blocks("audit.md", "text")[1], printed)
