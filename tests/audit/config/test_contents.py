"""Which files and models a configuration is about."""

from pathlib import Path

import pytest

from specprobe.audit.config import Audit, Check
from specprobe.errors import ConfigError

CHECK = Check(name="robust", metric="attack.robust_accuracy", minimum=0.3)


def test_model_files_are_found_once_and_in_order(tmp_path: Path) -> None:
    for name in ("a.onnx", "more/b.onnx", "more/c.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    models = ("more/c.onnx", "a.onnx", "more/*.onnx")
    audit = Audit(path=tmp_path / "specprobe.toml", models=models, checks=(CHECK,))
    assert [path.name for path in audit.model_files()] == ["c.onnx", "a.onnx", "b.onnx"]
    (tmp_path / "a.onnx").unlink()
    with pytest.raises(ConfigError, match=r"specprobe\.toml: models: there is no file 'a\.onnx' beside it"):
        audit.model_files()


def test_a_check_is_of_the_models_that_its_globs_match() -> None:
    some = Check(name="some", metric="attack.robust_accuracy", minimum=0.3, models=("*pgd*", "b.onnx"))
    names = ("net_pgd.onnx", "net.onnx", "b.onnx")
    assert [some.concerns(name) for name in names] == [True, False, True]
    assert all(CHECK.concerns(name) for name in names)
    assert CHECK.analysis == "attack"
