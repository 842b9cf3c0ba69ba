"""Configurations are read whole or refused, with the place and what is accepted."""

import datetime as dt
from pathlib import Path

import pytest

from specprobe.audit.config import ANALYSES, find_config, read_config
from specprobe.errors import ConfigError

WHOLE = """
models = ["a.onnx", "more/*.onnx"]
baseline = "base.json"
confidence = 0.9

[data]
source = "test.npz"
limit = 100

[recipe]
mean = [0.5, 0.5, 0.5]

[run]
device = "cpu"
batch_size = 16

[[check]]
metric = "accuracy"
min = 0.9

[[check]]
name = "robust"
metric = "attack.robust_accuracy"
min = 0.3
models = "*pgd*"
inconclusive = "fail"
limit = 50
settings = { attack = "pgd", norm = "linf", epsilon = "8/255", steps = 10 }

[[check]]
name = "quantised"
metric = "accuracy"
against = "float.onnx"
better = "higher"
tolerance = 0.01

[[waiver]]
check = "robust"
model = "a.onnx"
reason = "being retrained"
expires = 2027-01-31
"""


def written(folder: Path, text: str, name: str = "specprobe.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_configuration(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, WHOLE))
    assert config.models == ("a.onnx", "more/*.onnx")
    assert (config.confidence, config.baseline) == (0.9, "base.json")
    accuracy, robust, quantised = config.checks
    assert (accuracy.name, accuracy.minimum, accuracy.inconclusive) == ("accuracy", 0.9, "warn")
    assert robust.settings == {"attack": "pgd", "norm": "linf", "epsilon": 8 / 255, "steps": 10}
    assert (robust.analysis, robust.limit, robust.inconclusive) == ("attack", 50, "fail")
    assert (accuracy.models, robust.models) == ((), ("*pgd*",))
    assert (quantised.against, quantised.better, quantised.tolerance) == ("float.onnx", "higher", 0.01)
    assert config.waivers[0].expires == dt.date(2027, 1, 31)
    text = WHOLE.splitlines()
    assert {text[line - 1] for line in config.lines.values()} == {"[[check]]"}
    assert sorted(config.lines.values()) == list(config.lines.values())


def test_pyproject_holds_the_same(tmp_path: Path) -> None:
    text = WHOLE.replace("[[", "[[tool.specprobe.").replace("[data]", "[tool.specprobe.data]")
    text = text.replace("[recipe]", "[tool.specprobe.recipe]").replace("[run]", "[tool.specprobe.run]")
    path = written(tmp_path, "[tool.specprobe]" + text, "pyproject.toml")
    config = read_config(path)
    assert config.checks == read_config(written(tmp_path, WHOLE)).checks
    assert len(set(config.lines.values())) == 3


def test_the_nearest_configuration_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    written(tmp_path / "a", "[project]\nname = 'x'\n", "pyproject.toml")
    own = written(tmp_path, WHOLE)
    assert find_config(inner) == own
    shared = written(tmp_path / "a", "[tool.specprobe]\nmodels = 'x'\n", "pyproject.toml")
    assert find_config(inner) == shared


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("models = [", "modles = [", "'modles' is not known in the file (did you mean 'models'?)"),
        ('models = ["a.onnx", "more/*.onnx"]', "", "models are missing"),
        ("confidence = 0.9", "confidence = 95", "confidence is 95.0; accepted are numbers between 0 and 1"),
        ("min = 0.9", "mim = 0.9", "'mim' is not known in check 1 (did you mean 'min'?)"),
        ("min = 0.9", "", "check 1 has no kinds of limit; accepted is one"),
        ("min = 0.9", "min = 0.9\nbaseline = true", "check 1 has 2 kinds of limit"),
        ("min = 0.9", "min = 0.9\nmax = 0.8", "min 0.9 is above max 0.8"),
        ("min = 0.9", "min = 'much'", "check 1: min is 'much'; accepted are numbers, and fractions"),
        ("min = 0.9", "min = nan", "check 1: min is nan; accepted are finite numbers"),
        ("min = 0.9", "min = true", "check 1: min is True; accepted is a int or float or str"),
        ('metric = "accuracy"\nmin', "min", "check 1 names no metric"),
        ('"accuracy"\nmin', '"acuracy"\nmin', "belongs to no analysis (did you mean 'accuracy'?)"),
        ('name = "quantised"', 'name = "robust"', "two checks are called 'robust'"),
        ('better = "higher"', "", "does not say which way is good: better = 'higher' or 'lower'"),
        (
            'better = "higher"',
            'better = "more"',
            "check 3 'quantised': better is 'more'; accepted are higher, lower",
        ),
        ("tolerance = 0.01", "tolerance = -1", "tolerance is -1; accepted are numbers from 0"),
        ("limit = 50", "limit = 0", "check 2 'robust': limit is 0; accepted are whole numbers from 1"),
        ("steps = 10", "steps = '10'", "settings of attack: steps is '10'; accepted is a int"),
        ("steps = 10", "stpes = 10", "'stpes' is no setting of attack (did you mean 'steps'?)"),
        ("8/255", "8/0", "epsilon is '8/0'"),
        (
            'inconclusive = "fail"',
            'inconclusive = "maybe"',
            "inconclusive is 'maybe'; accepted are fail, warn, pass",
        ),
        ('source = "test.npz"', "", "[data] names no source, which accuracy, attack are measured on"),
        ('reason = "being retrained"', 'reason = ""', "waiver 1 lacks reason"),
        ("expires = 2027-01-31", "", "waiver 1 lacks expires"),
        ("expires = 2027-01-31", "expires = 2027-01-31T10:00:00", "expires is a time; accepted is a day"),
        ("[recipe]", "[recipe", "is no TOML"),
        ("batch_size = 16", "batch_size = '16'", "[run]: batch_size is '16'; accepted is a int"),
        ("batch_size = 16", "batch_size = 0", "[run]: batch_size is 0; accepted are whole numbers from 1"),
        ("batch_size = 16", "seed = -1", "[run]: seed is -1; accepted are whole numbers from 0"),
        ("limit = 100", "limit = 0", "[data]: limit is 0; accepted are whole numbers from 1"),
        ('models = "*pgd*"', "models = [3]", "models hold 3; accepted are file names and globs"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, WHOLE.replace(old, new, 1)))
    assert says in str(caught.value)
    assert str(caught.value).startswith("specprobe.toml")


def test_no_checks_and_no_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no \[\[check\]\]"):
        read_config(written(tmp_path, "models = 'a.onnx'"))
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is longer than"):
        read_config(written(tmp_path, "#" * (1 << 21)))


@pytest.mark.parametrize("analysis", ["model", "filters"])
def test_what_needs_no_images_needs_no_data(tmp_path: Path, analysis: str) -> None:
    text = f"models = 'a.onnx'\n[[check]]\nmetric = '{analysis}.x'\nmax = 3\n"
    assert read_config(written(tmp_path, text)).checks[0].analysis in ANALYSES
