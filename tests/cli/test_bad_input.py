"""Every bad input leaves with its code and one line that says what, where, and what to do; nothing dies by a signal."""

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from PIL import Image

pytestmark = pytest.mark.slow

NET = """
<ir_version: 8, opset_import: ["" : 18]>
net (float[N, 1, 4, 4] image) => (float[N, 2] logits)
<float[16, 2] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6,
                   0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6}>
{ flat = Flatten(image)  logits = MatMul(flat, w) }
"""


def net(folder: Path, text: str = NET) -> Path:
    path = folder / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def external(folder: Path, location: str) -> Path:
    weight = TensorProto(
        name="w", dims=[16, 2], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": location, "offset": "0", "length": "128"}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    model = onnx.parser.parse_model(NET)
    del model.graph.initializer[:]
    model.graph.initializer.append(weight)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def linked(folder: Path) -> Path:
    inside = folder / "inside"
    inside.mkdir()
    (folder / "outside.bin").write_bytes(bytes(128))
    (inside / "w.bin").symlink_to(folder / "outside.bin")
    return external(inside, "w.bin")


def chain(folder: Path) -> Path:
    functions = []
    for i in range(3000):
        called = helper.make_node(f"f{i + 1}", ["x"], ["y"], domain="local")
        body = [called] if i < 2999 else [helper.make_node("Relu", ["x"], ["y"])]
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
        functions.append(helper.make_function("local", f"f{i}", ["x"], ["y"], body, imports))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("f0", ["x"], ["y"], domain="local")],
        "net",
        [value("x", 1, ["N", 2])],
        [value("y", 1, ["N", 2])],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, functions=functions, ir_version=8, opset_imports=imports)
    return written(folder, model.SerializeToString())


HUGE = NET.replace(
    "{ flat", "{ size = Constant<value = int64[1] {1099511627776}>() ones = ConstantOfShape(size) flat"
)
FOREIGN = NET.replace('["" : 18]', '["" : 18, "acme" : 1]').replace("Flatten(", "acme.Magic(")
FUTURE = NET.replace('"" : 18', '"" : 999')
INTEGER = NET.replace("(float[N, 1, 4, 4] image)", "(int64[N, 1, 4, 4] ids)").replace(
    "flat = Flatten(image)", "real = Cast<to = 1>(ids)  flat = Flatten(real)"
)
BYTES = NET.replace("(float[N, 1, 4, 4] image)", "(uint8[N, 1, 4, 4] image)").replace(
    "flat = Flatten(image)", "real = Cast<to = 1>(image)  flat = Flatten(real)"
)
ONE = (
    NET.replace("(float[N, 2] logits)", "(float[N, 1] logits)")
    .replace("logits = MatMul(flat, w)", "logits = ReduceSum(flat, axis)")
    .replace("<float[16, 2]", "<int64[1] axis = {1}, float[16, 2]")
)
NAN = NET.replace(
    "flat = Flatten(image)",
    "zero = Sub(image, image)  undefined = Div(zero, zero)  flat = Flatten(undefined)",
)


class Case(NamedTuple):
    name: str
    code: int
    says: str
    model: Callable[[Path], Path] = net
    data: Callable[[Path], Path] | None = None
    options: tuple[str, ...] = ()


def data_file(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def npz(name: str = "data.npz", **arrays: Any) -> Callable[[Path], Path]:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return data_file(name, buffer.getvalue())


def zip_bomb(folder: Path) -> Path:
    path = folder / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**32, 4, 4, 1)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as member,
    ):
        member.write(header.getvalue())
        for _ in range(64):
            member.write(bytes(1 << 20))
    return path


def broken_folder(folder: Path) -> Path:
    root = folder / "pictures"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(noise).save(root / name / "one.jpg")
    whole = (root / "b" / "one.jpg").read_bytes()
    (root / "b" / "one.jpg").write_bytes(whole[: len(whole) // 2])
    return root


def empty_folder(folder: Path) -> Path:
    root = folder / "pictures"
    root.mkdir()
    return root


IMAGES = np.zeros((5, 4, 4, 1), np.uint8)

CASES = [
    Case("empty file", 3, "is empty", lambda d: written(d, b"")),
    Case("truncated", 3, "cut off", lambda d: written(d, net(d).read_bytes()[:-40])),
    Case("text", 3, "not an ONNX model|no ONNX graph", lambda d: written(d, b"hello, this is a text file\n")),
    Case("parent folder", 3, "not inside the model's folder", lambda d: external(d, "../w.bin")),
    Case("absolute path", 3, "not inside the model's folder", lambda d: external(d, "/etc/passwd")),
    Case("link out", 3, "a link that leaves the model's folder", linked),
    Case("missing data file", 3, "no such file", lambda d: external(d, "w.bin")),
    Case("no model", 3, "cannot be read", lambda d: d / "absent.onnx"),
    Case("function chain", 3, "3000 deep", chain),
    Case("huge tensor", 3, "would take 4398046511104 bytes", lambda d: net(d, HUGE)),
    Case("foreign domain", 3, "acme::Magic", lambda d: net(d, FOREIGN)),
    Case("future opset", 3, "opset 999", lambda d: net(d, FUTURE)),
    Case(
        "integer input",
        3,
        "is int64; specprobe feeds images",
        lambda d: net(d, INTEGER),
        npz(images=IMAGES, labels=np.zeros(5, int)),
    ),
    Case("one logit", 3, r"logits \[N, 1\], .* export two logits", lambda d: net(d, ONE), npz(images=IMAGES)),
    Case("bytes unscaled", 2, "is uint8, .* say --range 255", lambda d: net(d, BYTES), npz(images=IMAGES)),
    Case("threads", 2, "1000 is not in the range", data=npz(images=IMAGES), options=("--threads", "1000")),
    Case("pickled", 4, "pickle|object", data=npz(images=np.array([{}, 1], object), labels=np.zeros(2, int))),
    Case("zip bomb", 4, "expand|compress|ratio|bytes", data=zip_bomb),
    Case("truncated picture", 4, "one.jpg", data=broken_folder),
    Case("labels do not match", 4, "5.*4|4.*5", data=npz(images=IMAGES, labels=np.zeros(4, int))),
    Case(
        "label out of range",
        4,
        "label 7 of image 2",
        data=npz(images=IMAGES, labels=np.array([0, 1, 7, 0, 1])),
    ),
    Case("empty folder", 4, "no (images|pictures)", data=empty_folder),
    Case("no data", 4, "absent", data=lambda d: d / "absent.npz"),
    Case("text as data", 4, "accepted", data=data_file("data.txt", b"hello")),
    Case(
        "wrong size",
        4,
        "4, 4|4×4",
        data=npz(images=np.zeros((5, 8, 8, 1), np.uint8), labels=np.zeros(5, int)),
    ),
    Case(
        "wrong recipe",
        2,
        "mean",
        data=npz(images=IMAGES, labels=np.zeros(5, int)),
        options=("--mean", "0,0,0"),
    ),
    Case("bad option", 2, "layout", options=("--layout", "sideways")),
    Case("no gpu", 5, "CUDA", data=npz(images=IMAGES, labels=np.zeros(5, int)), options=("--device", "cuda")),
    Case("no such device", 5, "no device 'tpu'", data=npz(images=IMAGES), options=("--device", "tpu")),
    Case("bad destination", 2, "suffix '.xyz'", options=("-o", "out.xyz")),
    Case("no such input", 3, "no input 'nothing'", data=npz(images=IMAGES), options=("--input", "nothing")),
    Case(
        "no such tensor", 3, "no tensor 'nothing'", data=npz(images=IMAGES), options=("--output", "nothing")
    ),
    Case(
        "not a number",
        6,
        "logits of image 0 are NaN",
        lambda d: net(d, NAN),
        npz(images=IMAGES, labels=np.zeros(5, int)),
    ),
]


def run_apart(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from specprobe_cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        check=False,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_leaves_with_its_code_and_one_line(case: Case, tmp_path: Path) -> None:
    if case.name == "no gpu" and "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this runtime has CUDA")
    words = ["inspect", str(case.model(tmp_path)), *case.options]
    if case.data is not None:
        words += ["--data", str(case.data(tmp_path))]
    done = run_apart(*words, folder=tmp_path)
    assert done.returncode == case.code, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("Usage:", "Try ")) and line]
    assert len(lines) == 1, done.stderr
    assert re.search(case.says, lines[0]), lines[0]
    assert "Traceback" not in done.stderr
    assert "bug in specprobe" not in done.stderr


def test_traceback_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    done = run_apart("inspect", str(written(tmp_path, b"")), "--traceback", folder=tmp_path)
    assert done.returncode == 3
    assert "Traceback" in done.stderr
