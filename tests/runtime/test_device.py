"""Devices, threads, and which runtime is there."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from specprobe.errors import DeviceUnavailable
from specprobe.runtime import device, session
from specprobe.runtime.device import (
    Device,
    available_threads,
    check_threads,
    import_onnxruntime,
    installed_runtimes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", Device()),
        ("cuda", Device(kind="cuda")),
        ("cuda:0", Device(kind="cuda")),
        ("cuda:13", Device(kind="cuda", index=13)),
    ],
)
def test_parse_names_a_device(text: str, expected: Device) -> None:
    assert Device.parse(text) == expected
    assert Device.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "gpu", "CUDA", "cpu:0", "auto:1", "cuda:", "cuda:-1", "cuda:0 ", "tpu:1"]
)
def test_parse_refuses_what_names_no_device(text: str) -> None:
    with pytest.raises(
        DeviceUnavailable, match=f"no device '{re.escape(text)}'; accepted are cpu, cuda, cuda:INDEX, auto"
    ):
        Device.parse(text)


@pytest.mark.parametrize(("problem", "kind"), [(None, "cuda"), ("no driver", "cpu")])
def test_auto_is_the_gpu_that_opens_or_else_the_cpu(
    problem: str | None, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "opens", lambda asked: problem)
    assert session.choose_device("auto").kind == kind


def test_devices_print_as_they_are_parsed() -> None:
    assert str(Device()) == "cpu"
    assert str(Device(kind="cuda", index=2)) == "cuda:2"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_threads_follow_a_reduced_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from specprobe.runtime.device import available_threads; print(available_threads())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000\n", 8),
        ("300000 100000\n", 3),
        ("250000 100000\n", 2),
        ("20000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("nonsense", 8),
        (None, 8),
    ],
)
def test_threads_follow_a_container_quota(
    quota: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(device, "_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert available_threads() == expected


@pytest.mark.parametrize("threads", [None, 1, 256])
def test_numbers_of_threads_that_can_be_meant_pass(threads: int | None) -> None:
    check_threads(threads)


@pytest.mark.parametrize("threads", [-1, 0, 257, 1000])
def test_other_numbers_of_threads_are_refused(threads: int) -> None:
    with pytest.raises(ValueError, match=rf"threads is {threads}; accepted are whole numbers from 1 to 256"):
        check_threads(threads)


def test_installed_runtimes_lists_every_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in {"onnxruntime", "onnxruntime-gpu"}:
            return "9.9"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert installed_runtimes() == {"onnxruntime": "9.9", "onnxruntime-gpu": "9.9"}


def test_a_runtime_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(device, "installed_runtimes", lambda: {"onnxruntime": "9.9"})
    with pytest.raises(
        DeviceUnavailable, match=r"onnxruntime 9\.9 is installed but does not load: .*; run: specprobe doctor"
    ):
        import_onnxruntime.__wrapped__()


def test_no_runtime_gives_the_command_that_installs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(device, "installed_runtimes", dict)
    with pytest.raises(
        DeviceUnavailable,
        match=r'no ONNX runtime is installed; run: pip install "specprobe\[cpu\]", .*specprobe\[cuda\]',
    ):
        import_onnxruntime.__wrapped__()


_WITHOUT_RUNTIME = """
import importlib.metadata, sys
import importlib.abc

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "onnxruntime":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Blocker())
found = importlib.metadata.version

def version(name):
    if name.startswith("onnxruntime"):
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

importlib.metadata.version = version
import specprobe
from specprobe.errors import DeviceUnavailable

try:
    specprobe.load(sys.argv[1])
except DeviceUnavailable as error:
    print(error)
assert specprobe.inspect(sys.argv[1]).parameters == 27, "a survey needs no runtime"
"""


@pytest.mark.slow
def test_without_a_runtime_models_are_surveyed_and_loading_names_the_remedy(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N, 3, 2, 2] x) => (float[N, 36] y) { c = Conv (x, w) y = Flatten (c) }'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.helper.make_tensor("w", 1, [9, 3, 1, 1], [0.0] * 27))
    onnx.save(model, path)
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT_RUNTIME, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.count("\n") == 1
    assert 'pip install "specprobe[cpu]"' in run.stdout
