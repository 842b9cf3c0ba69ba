"""Every command has help, is in the reference, and answers fast; the exit codes of what goes wrong in general."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import specprobe_cli

from specprobe import errors

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", specprobe_cli.COMMANDS)
def test_command_has_help_for_itself_and_every_flag(name: str) -> None:
    context = click.Context(specprobe_cli.cli)
    command = specprobe_cli.cli.get_command(context, name)
    assert command is not None
    assert command.help
    plain = {"--layout", "--channel-order", "--batch-size", "--device", "--seed"}  # their choices say it
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not plain.intersection(parameter.opts):
            assert parameter.help, parameter.opts


def test_reference_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "reference" / "generate.py"), run_name="generate")
    assert (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8") == made["page"]()


def test_help_names_every_command_and_loads_no_heavy_module() -> None:
    code = (
        "import sys\nfrom specprobe_cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxruntime', 'rich', 'matplotlib', 'PIL', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in specprobe_cli.COMMANDS)


def test_unknown_command_is_a_usage_error_that_lists_the_known(refusal: Any) -> None:
    err = refusal("inspct")
    assert "inspct" in err
    assert "inspect" in err


def test_version(run: Any) -> None:
    from specprobe import __version__

    code, out, _ = run("--version")
    assert code == 0
    assert __version__ in out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError("no"), 2),
        (errors.ModelError("no"), 3),
        (errors.UnsupportedOperator("no"), 3),
        (errors.ExternalDataError("no"), 3),
        (errors.DataError("no"), 4),
        (errors.EmptyInput("no"), 4),
        (errors.InputMismatch("no"), 4),
        (errors.CheckpointError("no"), 4),
        (errors.DeviceUnavailable("no"), 5),
        (MemoryError(), 5),
        (errors.InvalidNumbers("no"), 6),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_leaves_by_its_code(
    run: Any, error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("specprobe.runtime.diagnosis.diagnose", fail)
    left, out, err = run("doctor")
    assert (left, out) == (code, "")
    assert len(err.strip().splitlines()) == 1
    assert ("--traceback" in err) == (code == 70)


def test_every_exception_of_the_library_has_a_code() -> None:
    known = tuple(kind for kind, _ in specprobe_cli._EXIT_CODES)
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert kind is errors.SpecprobeError or issubclass(kind, known), name


def test_doctor_opens_a_session_on_the_cpu(run: Any) -> None:
    code, out, _ = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["device cpu"]["status"] == "ok"
    assert "usable" in checks["threads"]["message"]
    assert code in {0, 5}


def test_two_runtimes_at_once_are_an_error_with_its_remedy(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr("specprobe.runtime.diagnosis.installed_runtimes", lambda: both)
    code, out, _ = run("doctor")
    assert code == 5
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in out


def test_dask_address_that_does_not_answer_is_a_usage_error(refusal: Any) -> None:
    digits = ROOT / "models" / "digits"
    words = ("inspect", digits / "normal.onnx", "--data", digits / "test.npz")
    assert "nonsense://nowhere:1" in refusal(*words, "--dask", "nonsense://nowhere:1")
