"""Damaged and hostile files: each is refused in one clear line, or works; the process lives on."""

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from specprobe.errors import ModelError, SpecprobeError, UnsupportedOperator
from specprobe.graph.limits import Limits
from specprobe.graph.load import open_model
from specprobe.graph.survey import survey
from specprobe.runtime.network import load

WEIGHTS = {
    "w": np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32),
    "big": np.random.default_rng(1).standard_normal((5, 4 * 8 * 8)).astype(np.float32),
    "scale": np.ones(4, np.float32),
    "q": np.arange(-6, 6, dtype=np.int8).reshape(4, 3, 1, 1),
    "unit": np.float32(0.1),
    "zero": np.int8(0),
}
BODIES = {
    "plain": """g (float[N, 3, 8, 8] image) => (float[N, 5] probabilities) {
        a = Conv <auto_pad = "SAME_UPPER", strides = [1, 1]> (image, w)
        b = BatchNormalization (a, scale, scale, scale, scale)
        c = Relu (b)
        d = Flatten (c)
        e = Gemm <transB = 1> (d, big)
        probabilities = Softmax <axis = 1> (e)
    }""",
    "quantised": """g (float[1, 3, 8, 8] image) => (float[1, 4] logits) {
        k = DequantizeLinear (q, unit, zero)
        a = Conv (image, k)
        b = QuantizeLinear (a, unit, zero)
        c = DequantizeLinear (b, unit, zero)
        d = GlobalAveragePool (c)
        s = Constant <value_ints = [1, 4]> ()
        logits = Reshape (d, s)
    }""",
    "branches": """g (float[1, 3, 8, 8] image) => (float[1, 3] logits) {
        m = ReduceMean <keepdims = 0> (image)
        zero_ = Constant <value_float = 0.5> ()
        c = Greater (m, zero_)
        p = If (c) <then_branch = t () => (float[1, 3, 8, 8] u) { u = Relu (image) },
                    else_branch = e () => (float[1, 3, 8, 8] v) { v = Neg (image) }>
        g = GlobalAveragePool (p)
        logits = Flatten (g)
    }""",
    "functions": """g (float[N, 3, 8, 8] image) => (float[N, 4] logits) {
        y = own.Twice (image, w)
        z = GlobalMaxPool (y)
        logits = Flatten (z)
    }
    <opset_import: ["" : 17], domain: "own"> Twice (x, k) => (y) { c = Conv (x, k) d = Add (c, c) y = Sigmoid (d) }
    """,
}

FUZZ = """
import faulthandler, resource, sys, traceback
import numpy as np
from pathlib import Path
faulthandler.enable()
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from specprobe.errors import SpecprobeError
from specprobe.graph.load import open_model
from specprobe.graph.survey import survey
from specprobe.runtime.network import load
rng = np.random.default_rng(int(sys.argv[2]))
opened = 0
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    # Weights take most of a file, and damage to them is only another number.
    places = np.arange(len(whole)) if len(whole) < 2000 else np.r_[0:900, len(whole) - 900:len(whole)]
    for case in range(int(sys.argv[3])):
        damaged = whole.copy()
        chosen = rng.choice(places, int(rng.integers(1, 6)))
        if case % 2:
            damaged[chosen] ^= (1 << rng.integers(0, 8, len(chosen))).astype(np.uint8)
        else:
            damaged[chosen] = rng.integers(0, 256, len(chosen))
        target = Path(sys.argv[1]) / "damaged"
        target.write_bytes(damaged.tobytes())
        try:
            file = open_model(target)
            opened += 1
            for use in (survey, load):
                try:
                    use(file)
                except SpecprobeError as error:
                    assert str(error) and len(str(error).splitlines()) == 1, repr(str(error))
        except SpecprobeError as error:
            assert str(error) and len(str(error).splitlines()) == 1, repr(str(error))
        except BaseException:
            print(path.name, case, flush=True)
            traceback.print_exc()
            keep = Path(sys.argv[1]) / f"found_{path.stem}_{case}"
            keep.write_bytes(damaged.tobytes())
            sys.exit(1)
print(opened)
"""


@pytest.fixture
def folder(tmp_path: Path, parse: Callable[..., onnx.ModelProto]) -> Path:
    for name, body in BODIES.items():
        own = ', "own" : 1' if name == "functions" else ""
        used = {key: array for key, array in WEIGHTS.items() if f" {key}" in body or f"({key}" in body}
        model = parse(body, opset=17, imports=own, **used)
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
    return tmp_path


@pytest.mark.parametrize("name", sorted(BODIES))
def test_undamaged_files_open_and_run(folder: Path, name: str) -> None:
    file = open_model(folder / f"{name}.onnx")
    assert survey(file).multiply_adds is not None
    logits = load(file).logits(np.zeros((3, 3, 8, 8), np.float32))
    assert logits.shape[0] == 3
    assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_flipped_bytes_are_survived(folder: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, str(folder), str(seed), "120"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 20


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_file_cut_off_anywhere_is_refused_or_opens(folder: Path, tmp_path: Path, name: str) -> None:
    whole = (folder / f"{name}.onnx").read_bytes()
    target = tmp_path / "cut.onnx"
    refused = 0
    for part in range(50):
        target.write_bytes(whole[: len(whole) * part // 50])
        try:
            file = open_model(target)
        except ModelError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - most cuts are refused, some open
            refused += 1
            continue
        survey(file)
    assert refused >= 45


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"# a readme\n" * 40, r"is not an ONNX model.*it begins with b'# a readme"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" * 9, r"it begins with b'\\xff\\xd8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*git lfs pull"),
        (b"\x08\x08", "holds no ONNX graph"),
        (b"\x00" * 4096, "is not an ONNX model"),
    ],
)
def test_other_files_are_named_for_what_they_are(
    save: Callable[..., Path], content: bytes, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        open_model(save(content))


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a file; give the \.onnx file itself"):
        open_model(tmp_path)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        open_model(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="cannot be read: embedded null"):
        open_model("a\0b.onnx")
    with pytest.raises(ModelError, match="cannot be read: File name too long"):
        open_model("a" * 5000)


def test_a_file_without_permission_is_refused(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = save(b"anything")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelError, match="cannot be read: Permission denied"):
        open_model(path)


def chain(depth: int, *, calls: int = 1) -> onnx.ModelProto:
    """``depth`` functions, each of which calls the one before ``calls`` times."""
    helper = onnx.helper
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", "f0", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], imports)
    ]
    for level in range(1, depth):
        names = ["x", *(f"t{i}" for i in range(calls - 1)), "y"]
        nodes = [helper.make_node(f"f{level - 1}", [a], [b], domain="own") for a, b in pairwise(names)]
        functions.append(helper.make_function("own", f"f{level}", ["x"], ["y"], nodes, imports))
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 3, 4, 4]) for n in ("x", "y")]
    call = helper.make_node(f"f{depth - 1}", ["x"], ["y"], domain="own")
    graph = helper.make_graph([call], "g", ports[:1], ports[1:])
    return helper.make_model(graph, functions=functions, opset_imports=imports, ir_version=8)


def test_function_chains_open_up_to_the_cap(opened: Callable[..., object], save: Callable[..., Path]) -> None:
    assert open_model(save(chain(100))).functions == 100
    with pytest.raises(ModelError, match="functions call one another 101 deep, the cap is 100"):
        open_model(save(chain(101)))
    with pytest.raises(ModelError, match="functions call one another 3000 deep"):
        open_model(save(chain(3000)))
    assert len(open_model(save(chain(9)), limits=Limits(function_depth=9)).model.graph) == 1


def test_functions_that_double_are_refused_unfolded(save: Callable[..., Path]) -> None:
    assert len(open_model(save(chain(6, calls=2))).model.graph) == 32
    with pytest.raises(ModelError, match=r"unfolds to \d{19} nodes, the cap is 1000000"):
        open_model(save(chain(60, calls=2)))


def test_functions_that_double_large_constants_are_refused_unfolded(save: Callable[..., Path]) -> None:
    model = chain(14, calls=2)
    constant = onnx.numpy_helper.from_array(np.ones(40_000, np.float32))
    model.functions[0].node.insert(0, onnx.helper.make_node("Constant", [], ["c"], value=constant))
    with pytest.raises(ModelError, match=r"unfolds to \d+ bytes, the cap is 1000000000"):
        open_model(save(model), limits=Limits(file_bytes=1_000_000_000))


@pytest.mark.parametrize("used", [True, False])
def test_recursive_functions_are_refused(save: Callable[..., Path], used: bool) -> None:
    model = chain(3)
    model.functions[0].node[0].op_type = "f2"
    model.functions[0].node[0].domain = "own"
    if not used:
        model.graph.node[0].op_type, model.graph.node[0].domain = "Relu", ""
    with pytest.raises(ModelError, match=r"function 'f\d' calls itself"):
        open_model(save(model))


def test_a_function_that_hides_behind_its_overload_is_looked_into(save: Callable[..., Path]) -> None:
    model = chain(1)
    hidden = model.functions.add()
    hidden.CopyFrom(model.functions[0])
    model.functions[0].node[0].op_type, model.functions[0].overload = "EPContext", "second"
    model.functions[0].node[0].domain = "com.microsoft"
    model.ir_version = 10
    model.graph.node[0].overload = "second"
    with pytest.raises(UnsupportedOperator, match=r"com\.microsoft::EPContext"):
        open_model(save(model))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("g (float[N] x) => (float[N] y) { y = Relu (z) }", "not a valid ONNX model"),
        ("g (float[N] x) => (float[N] y) { y = Relu (z) z = Relu (x) }", "topologically sorted"),
        ("g (float[N] x) => (float[N] y) { y = Relu (z) z = Relu (y) }", "topologically sorted"),
        ("g (float[N] x) => (float[N] y) { y = Relu (x) y = Neg (x) }", "single static assignment"),
        ("g (float[N] x) => (float[N] y) { y = Relu (x, x, x) }", "not a valid ONNX model"),
        ("g (float[N] x) => (float[N] y) { y = Invented (x) }", "No Op registered for Invented"),
        ("g (float[N] x) => (float[N] y) { z = Relu (x) }", "not a valid|cannot be read"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], body: str, message: str
) -> None:
    path = save(parse(body))
    with pytest.raises(ModelError, match=message) as caught:
        load(open_model(path), image_shape=(1, 2, 2))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "body",
    [
        "c = Constant <value_ints = [1099511627776, 1]> () y = ConstantOfShape (c)",
        """p = Constant <value_ints = [1048576, 1]> () q = Constant <value_ints = [1048576, 1]> ()
           c = Mul (p, q) y = ConstantOfShape (c)""",
        "c = Constant <value_ints = [1048576, 1048576]> () y = Expand (x, c)",
        "c = Constant <value_ints = [1048576, 1048576]> () y = Tile (x, c)",
        "c = Constant <value_ints = [0, 0, 1048576, 1048576]> () y = Pad (x, c)",
        "c = Constant <value_floats = [1048576.0, 1048576.0]> () y = Resize (x, , c)",
        """y = If (b) <then_branch = t () => (float[A, B] u) {
           c = Constant <value_ints = [1099511627776, 1]> () u = ConstantOfShape (c) },
           else_branch = e () => (float[E, F] v) { v = Identity (x) }>""",
    ],
)
def test_stated_bombs_are_refused_before_the_runtime_sees_them(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], body: str
) -> None:
    path = save(parse(f"g (float[1, 1] x, bool b) => (float[C, D] y) {{ {body} }}"))
    with pytest.raises(ModelError, match=r"would take \d+ bytes, the cap is 8589934592"):
        open_model(path)


LATE_BOMB = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from specprobe.errors import SpecprobeError
from specprobe.runtime.network import load
try:
    load(sys.argv[1])
except SpecprobeError as error:
    print(type(error).__name__, len(str(error).splitlines()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        # 2**40 elements, from numbers that shape inference does not follow.
        "s = ReduceProd <keepdims = 1> (k) y = ConstantOfShape (s) z = ReduceSum (y)",
        "s = ReduceProd <keepdims = 1> (k) y = Expand (m, s) z = ReduceSum (y)",
        "s = ReduceProd <keepdims = 1> (k) n = Unsqueeze (m, zero) y = Tile (n, s) z = ReduceSum (y)",
        """s = ReduceProd <keepdims = 0> (k) one_ = Squeeze (one) o = Squeeze (zero) y = Range (o, s, one_)
        f = Cast <to = 1> (y) z = ReduceSum (f)""",
    ],
)
def test_hidden_bombs_end_as_an_error_of_the_runtime(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], body: str
) -> None:
    text = f"""g (float[N, 1, 4, 4] x) => (float[N, 1] logits) {{
        m = ReduceMean <keepdims = 0> (x) {body} p = GlobalAveragePool (x) q = Flatten (p) logits = Mul (q, z) }}"""
    constants = {"k": np.array([1 << 20, 1 << 20]), "zero": np.array([0]), "one": np.array([1])}
    used = {name: array for name, array in constants.items() if name in text.replace("one_", "")}
    done = subprocess.run(
        [sys.executable, "-c", LATE_BOMB, str(save(parse(text, **used)))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["1"], done.stdout


def test_foreign_operators_are_refused_by_name_and_place(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    body = "g (float[N, 4] x) => (float[N, 4] y) { z = Relu (x) [here] y = acme.Secret (z) }"
    path = save(parse(body, imports=', "acme" : 1'))
    with pytest.raises(UnsupportedOperator, match=r"acme::Secret \(node 'here'\).*--allow-domain"):
        open_model(path)
    file = open_model(path, limits=Limits(allowed_domains=frozenset({"acme"})))
    assert survey(file).operators == {"Relu": 1, "acme::Secret": 1}
    with pytest.raises(SpecprobeError, match="onnxruntime cannot run this graph"):
        load(file, image_shape=(1, 2, 2))


@pytest.mark.parametrize("operator", ["EPContext", "PyOp"])
def test_operators_that_run_what_a_file_brings_are_refused(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], operator: str
) -> None:
    body = f"g (float[N, 4] x) => (float[N, 4] y) {{ y = com.microsoft.{operator} (x) }}"
    with pytest.raises(UnsupportedOperator, match=f"com.microsoft::{operator}"):
        open_model(save(parse(body, imports=', "com.microsoft" : 1')))
    inside = """g (float[N, 4] x, bool b) => (float[N, 4] y) { y = If (b) <
        then_branch = t () => (float[N, 4] u) { u = com.microsoft.EPContext (x) },
        else_branch = e () => (float[N, 4] v) { v = Relu (x) }> }"""
    with pytest.raises(UnsupportedOperator, match=r"com\.microsoft::EPContext"):
        open_model(save(parse(inside, imports=', "com.microsoft" : 1')))


def test_files_of_the_future_are_refused_with_both_versions(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    body = "g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }"
    with pytest.raises(UnsupportedOperator, match=r"uses opset 999, .* knows up to \d+; upgrade onnx"):
        open_model(save(parse(body, opset=999)))
    with pytest.raises(UnsupportedOperator, match=r"has IR version 999, .* reads up to \d+; upgrade onnx"):
        open_model(save(parse(body, ir_version=999)))


def test_caps_name_themselves(parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]) -> None:
    body = "g (float[N, 600] x) => (float[N, 600] y) { z = Add (x, w) y = Relu (z) }"
    path = save(parse(body, w=np.ones(600, np.float32)))
    with pytest.raises(ModelError, match=r"has \d+ bytes, the cap is 100: save the model with its weights"):
        open_model(path, limits=Limits(file_bytes=100))
    with pytest.raises(ModelError, match="has 2400 bytes of weights, the cap is 2399"):
        open_model(path, limits=Limits(weight_bytes=2399))
    with pytest.raises(ModelError, match="unfolds to 2 nodes, the cap is 1"):
        open_model(path, limits=Limits(nodes=1))
    with pytest.raises(ModelError, match=r"of shape \[600\] would take 2400 bytes, the cap is 2399"):
        open_model(path, limits=Limits(tensor_bytes=2399))


@pytest.mark.parametrize(
    ("dims", "numbers"),
    [((-1, 600), 1200), ((3, 600), 1200), ((600, 600), 1200), ((-2, -600), 1200), ((-1,), 8)],
)
def test_weights_that_contradict_their_shape_are_refused(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], dims: tuple[int, ...], numbers: int
) -> None:
    model = parse(
        "g (float[N, 600] x) => (float[N, 600] y) { y = Add (x, w) }", w=np.ones(numbers, np.float32)
    )
    model.graph.initializer[0].dims[:] = dims
    with pytest.raises(ModelError, match=r"tensor 'w' (does not hold the numbers|has a negative dimension)"):
        open_model(save(model))


def test_attributes_that_contradict_their_shape_are_refused(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    model = parse("g (float[N, 3] x) => (y) { c = Constant <value = float[3] {1, 2, 3}> () y = Add (x, c) }")
    model.graph.node[0].attribute[0].t.dims[:] = [4]
    with pytest.raises(ModelError, match=r"does not hold the numbers of its shape \[4\]"):
        open_model(save(model))


def test_names_that_are_no_text_are_refused(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    whole = parse("g (float[N, 3] marker) => (y) { y = Relu (marker) }").SerializeToString()
    with pytest.raises(ModelError, match=r"text that is not UTF-8 \(b'mar\\xffer'\)"):
        open_model(save(whole.replace(b"marker", b"mar\xffer")))


def test_sparse_weights_are_refused(parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]) -> None:
    model = parse("g (float[N, 3] x) => (y) { y = Add (x, w) }")
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    places = onnx.numpy_helper.from_array(np.zeros(1, np.int64))
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [3]))
    with pytest.raises(UnsupportedOperator, match="keeps 'w' as a sparse initializer; accepted are dense"):
        open_model(save(model))


def test_long_attribute_lists_open_quickly(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    model = parse("g (float[N, 3] x) => (float[N, 3] y) { c = Constant <value_ints = [1]> () y = Relu (x) }")
    model.graph.node[0].attribute[0].ints[:] = range(1_000_000)
    assert survey(open_model(save(model))).operators == {"Constant": 1, "Relu": 1}


NAMES = [
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "[bold]markup[/bold]",
    "x" * 10_000,
    "\u202eright to left",
    "{braces}",
]


@pytest.mark.parametrize("name", NAMES, ids=["escape", "newline", "markup", "long", "bidi", "braces"])
def test_names_come_out_on_one_line(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], name: str
) -> None:
    model = parse(
        "g (float[1, 3, 4, 4] x, float[3, 3, 1, 1] w) => (float[1, 3, 4, 4] y) { a = Sign (x) y = Conv (a, w) }"
    )
    for node in model.graph.node:
        node.name = name
    model.graph.input[0].name = model.graph.node[0].input[0] = name
    surveyed = survey(open_model(save(model)))
    assert surveyed.convolutions == ()
    for text in (
        *(str(f.node) + f.message for f in surveyed.findings),
        *surveyed.masking,
        surveyed.inputs[0].name,
    ):
        assert text.isprintable()
        assert len(text) <= 400
    model.graph.node[0].op_type = name
    with pytest.raises(SpecprobeError) as caught:
        load(open_model(save(model)))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


def test_attributes_that_are_no_text_are_refused(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    model = parse(
        'g (float[N, 3, 4, 4] x, float[3, 3, 1, 1] w) => (y) { y = Conv <auto_pad = "VALID"> (x, w) }'
    )
    model.graph.node[0].attribute[0].s = b"VAL\xffD"
    with pytest.raises(ModelError, match=r"text that is not UTF-8 \(b'VAL\\xffD'\): the file is damaged"):
        open_model(save(model))


@pytest.mark.parametrize("shape", ["0, 3, 8, 8", "N, 3, 0, 0", "N, 0, 8, 8"])
def test_sizes_of_zero_end_in_an_error_or_in_logits(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], shape: str
) -> None:
    body = f"g (float[{shape}] x) => (float[A, K] y) {{ p = GlobalMaxPool (x) y = Flatten (p) }}"
    try:
        load(save(parse(body)))
    except SpecprobeError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - the runtime decides which of them run
