"""``specprobe audit``: limits kept and broken, a baseline that ratchets, and what CI gets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import specprobe
from specprobe.graph.load import open_model

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"
HEAD = """
models = ["*.onnx"]
[data]
source = "test.npz"
limit = 120
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds two models and data, and is where commands are run."""
    for name in ("normal.onnx", "robust.onnx", "test.npz"):
        shutil.copy(DIGITS / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(folder: Path, text: str, head: str = HEAD) -> None:
    (folder / "specprobe.toml").write_text(head + text, encoding="utf-8")


@pytest.fixture
def verdicts(run: Any) -> Callable[..., tuple[int, dict[tuple[str, str], Any]]]:
    """Runs an audit; gives its exit code, and its verdicts by model and check."""

    def judge(*words: str) -> tuple[int, dict[tuple[str, str], Any]]:
        code, out, err = run("audit", "--json", *words)
        assert err == ""
        content = json.loads(out)
        assert content["kind"] == "audit"
        return code, {(v["model"], v["check"]): v for v in content["result"]["verdicts"]}

    return judge


def test_limits_are_kept_or_not(run: Any, verdicts: Any, folder: Path) -> None:
    config(
        folder,
        """
[[check]]
metric = "accuracy"
min = 0.9
[[check]]
name = "much"
metric = "sensitivity.low_share"
min = 0.9
[[check]]
name = "few"
metric = "accuracy"
min = 0.97
limit = 15
models = "robust*"
[[check]]
metric = "bands.low_pass.2.accuracy"
max = 0.9
[[check]]
metric = "model.warnings"
max = 0
[[check]]
name = "drop"
metric = "accuracy"
against = "normal.onnx"
better = "higher"
tolerance = 0.2
""",
    )
    code, found = verdicts()
    assert code == 1
    assert {key: verdict["status"] for key, verdict in found.items()} == {
        ("normal.onnx", "accuracy"): "pass",
        ("normal.onnx", "much"): "fail",
        ("normal.onnx", "bands.low_pass.2.accuracy"): "pass",
        ("normal.onnx", "model.warnings"): "pass",
        ("normal.onnx", "drop"): "pass",
        ("robust.onnx", "accuracy"): "pass",
        ("robust.onnx", "much"): "fail",
        ("robust.onnx", "few"): "inconclusive",
        ("robust.onnx", "bands.low_pass.2.accuracy"): "pass",
        ("robust.onnx", "model.warnings"): "pass",
        ("robust.onnx", "drop"): "pass",
    }
    images = specprobe.load_images(folder / "test.npz", limit=120)
    expected = specprobe.accuracy(specprobe.load(folder / "robust.onnx"), images)
    accuracy = found["robust.onnx", "accuracy"]
    assert accuracy["measured"] == expected.accuracy
    assert accuracy["measured_interval"] == list(expected.accuracy_interval)
    assert found["normal.onnx", "drop"]["measured"] == 0
    code, out, _ = run("audit", "--exit-zero")
    assert code == 0
    assert "fail: normal.onnx, much: sensitivity.low_share" in out


def test_each_image_is_read_once_for_all_checks_of_one_setting(
    verdicts: Any, folder: Path, counted: Any
) -> None:
    shares = "".join(
        f'[[check]]\nmetric = "sensitivity.{name}_share"\nmax = 1\n' for name in ("low", "mid", "high")
    )
    config(folder, shares + '[[check]]\nmetric = "accuracy"\nmin = 0.1\n')
    with counted("logits_and_gradient") as calls:
        assert verdicts()[0] == 0
    assert sum(call.images for call in calls) == 2 * 120


def test_a_ratchet_is_made_held_broken_waived_and_tightened(run: Any, verdicts: Any, folder: Path) -> None:
    check = '[[check]]\nname = "ratchet"\nmetric = "accuracy"\nbaseline = true\nbetter = "higher"\n'
    (folder / "robust.onnx").unlink()
    config(folder, check)
    key = "normal.onnx", "ratchet"

    code, found = verdicts()
    assert (code, found[key]["status"]) == (1, "error")
    assert "write one with --update-baseline" in found[key]["message"]

    assert verdicts("--update-baseline")[0] == 0
    code, found = verdicts()
    assert (code, found[key]["status"]) == (0, "pass")
    held = json.loads((folder / "specprobe-baseline.json").read_text(encoding="utf-8"))
    assert held["models"]["normal.onnx"]["ratchet"]["value"] == found[key]["measured"]

    good = (folder / "normal.onnx").read_bytes()
    model = onnx.load(folder / "normal.onnx")
    for weight in model.graph.initializer:
        if len(weight.dims) == 4:
            values = onnx.numpy_helper.to_array(weight).copy()
            values[::2] = 0
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / "normal.onnx")
    code, found = verdicts()
    assert (code, found[key]["status"]) == (1, "fail")
    _, out, _ = run("audit", "--update-baseline")
    assert "which stays; --allow-worse takes it" in out.replace("\n", " ")
    assert json.loads((folder / "specprobe-baseline.json").read_text(encoding="utf-8")) == held

    waiver = '[[waiver]]\ncheck = "ratchet"\nreason = "pruned on purpose"\nexpires = {}\n'
    config(folder, check + waiver.format("9999-01-01"))
    code, found = verdicts()
    assert (code, found[key]["status"]) == (0, "waived")
    config(folder, check + waiver.format("2020-01-01"))
    code, out, _ = run("audit")
    assert code == 1
    assert "expired on 2020-01-01" in out

    config(folder, check)
    assert verdicts("--update-baseline", "--allow-worse")[0] == 1
    assert verdicts()[0] == 0
    (folder / "normal.onnx").write_bytes(good)
    code, out, _ = run("audit")
    assert code == 0
    assert "--update-baseline tightens it" in out.replace("\n", " ")
    assert verdicts("--update-baseline")[0] == 0
    assert json.loads((folder / "specprobe-baseline.json").read_text(encoding="utf-8")) == held


def test_files_for_ci_are_written(run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").mkdir()
    (folder / "ci").mkdir()
    config(
        folder / "ci",
        '[[check]]\nmetric = "accuracy"\nmin = 1\n',
        HEAD.replace('"*.onnx"', '"../*.onnx"').replace('"test', '"../test'),
    )
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    files = {"--junit": "j.xml", "--sarif": "s.sarif", "--gitlab": "g.json", "--markdown": "m.md"}
    words = [part for pair in files.items() for part in pair]
    code, out, _ = run("audit", "-c", "ci/specprobe.toml", "--github", *words, "-o", "page.html")
    assert code == 1
    assert out.startswith("::error file=ci/specprobe.toml,line=")
    assert all((folder / name).stat().st_size for name in [*files.values(), "page.html"])
    sarif = json.loads((folder / "s.sarif").read_text(encoding="utf-8"))
    place = sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "ci/specprobe.toml"
    text = (folder / "ci" / "specprobe.toml").read_text(encoding="utf-8").splitlines()
    assert text[place["region"]["startLine"] - 1] == "[[check]]"
    assert (folder / "summary.md").read_text(encoding="utf-8") == (folder / "m.md").read_text(
        encoding="utf-8"
    )
    assert "Verdicts" in (folder / "page.html").read_text(encoding="utf-8")


def test_a_dry_run_measures_nothing(run: Any, folder: Path) -> None:
    config(
        folder, '[[check]]\nmetric = "accuracy"\nmin = 1\n[[check]]\nmetric = "bands.radius_95"\nmax = 1\n'
    )
    code, out, _ = run("audit", "--dry-run")
    assert code == 0
    assert "Nothing was measured." in out
    assert "accuracy, bands" in out
    assert "120" in out


def test_what_cannot_be_measured_is_an_error_and_the_rest_is_judged(verdicts: Any, folder: Path) -> None:
    (folder / "broken.onnx").write_bytes(b"no model")
    config(
        folder,
        '[[check]]\nmetric = "accuracy"\nmin = 0.5\n[[check]]\nname = "typo"\nmetric = "sensitivity.lowshare"\nmax = 1\n',
    )
    code, found = verdicts()
    assert code == 1
    assert found["broken.onnx", "accuracy"]["status"] == "error"
    assert found["normal.onnx", "accuracy"]["status"] == "pass"
    assert "close are sensitivity.low_share" in found["normal.onnx", "typo"]["message"]


def test_a_setting_that_cannot_be_is_an_error_and_no_bug(verdicts: Any, folder: Path) -> None:
    config(
        folder,
        '[[check]]\nmetric = "attack.robust_accuracy"\nmin = 0.5\nlimit = 4\nsettings = { attack = "nope" }\n',
    )
    code, found = verdicts()
    assert code == 1
    assert {verdict["status"] for verdict in found.values()} == {"error"}
    assert "attack is 'nope'" in found["normal.onnx", "attack.robust_accuracy"]["message"]


BOTH = (
    '[[check]]\nmetric = "accuracy"\nmin = 0.5\n'
    '[[check]]\nname = "robust"\nmetric = "attack.robust_accuracy"\nmin = 0.5\nlimit = 4\n'
)


def test_a_bug_in_one_metric_is_its_own_error(
    run: Any, verdicts: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        name = "pgd"
        raise KeyError(name)

    monkeypatch.setattr(specprobe, "attack", broken)
    config(folder, BOTH)
    code, found = verdicts("--junit", "j.xml")
    assert code == 1
    for model in ("normal.onnx", "robust.onnx"):
        assert found[model, "accuracy"]["status"] == "pass"
        assert found[model, "robust"]["status"] == "error"
        assert "a bug in specprobe: KeyError: 'pgd'" in found[model, "robust"]["message"]
    assert (folder / "j.xml").read_text(encoding="utf-8").count("<error ") == 2
    assert run("audit", "--exit-zero", "-q") == (0, "", "")


def test_a_bug_in_opening_a_model_leaves_the_other_models(
    verdicts: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, **settings: Any) -> Any:
        if path.name == "robust.onnx":
            msg = "no\nway"
            raise RuntimeError(msg)
        return open_model(path, **settings)

    monkeypatch.setattr("specprobe.workflow.audited_models.open_model", broken)
    config(folder, '[[check]]\nmetric = "accuracy"\nmin = 0.5\n')
    code, found = verdicts()
    assert code == 1
    assert found["normal.onnx", "accuracy"]["status"] == "pass"
    assert found["robust.onnx", "accuracy"]["message"].endswith("RuntimeError: no way")


@pytest.mark.parametrize(("error", "left"), [(MemoryError, 5), (KeyboardInterrupt, 130)])
def test_what_concerns_the_machine_or_the_user_ends_the_audit(
    run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], left: int
) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(specprobe, "attack", stopped)
    config(folder, BOTH)
    assert run("audit", "-q")[0] == left


def test_threads_that_cannot_be_meant_are_refused(refusal: Any, folder: Path) -> None:
    config(folder, '[[check]]\nmetric = "accuracy"\nmin = 1\n', f"{HEAD}[run]\nthreads = 1000\n")
    assert "specprobe.toml: [run]: threads is 1000; accepted are whole numbers from 1 to 256" in refusal(
        "audit"
    )


def test_a_baseline_holds_for_its_images_alone(verdicts: Any, folder: Path) -> None:
    check = '[[check]]\nname = "r"\nmetric = "accuracy"\nbaseline = true\nbetter = "higher"\n'
    config(folder, check)
    assert verdicts("--update-baseline")[0] == 0
    assert verdicts()[0] == 0
    config(folder, check, HEAD.replace("120", "121"))
    code, found = verdicts()
    assert code == 1
    assert "was measured on other images" in found["normal.onnx", "r"]["message"]
    assert verdicts("--update-baseline")[0] == 0
    assert verdicts()[0] == 0


def test_mistakes_leave_with_2(refusal: Any, run: Any, folder: Path) -> None:
    assert "there is no specprobe.toml here or above" in refusal("audit")
    config(folder, '[[check]]\nmetric = "accuracy"\nmin = 1\nmodels = "none*"\n')
    assert "no check concerns any of the models normal.onnx, robust.onnx" in refusal("audit")
    assert run("audit", "--allow-worse")[0] == 2
    assert run("audit", "--junit", "none/j.xml")[0] == 2
    config(folder, '[[check]]\nmetric = "accuracy"\nagainst = "none.onnx"\nbetter = "higher"\n')
    assert "is against 'none.onnx', which is no model and no file" in refusal("audit")
