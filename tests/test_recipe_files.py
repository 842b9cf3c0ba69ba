"""Recipe files: our own, timm's, Hugging Face's, and everything that is refused."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.errors import RecipeError
from specprobe.recipe import Geometry, Preprocessing
from specprobe.recipe_files import read_recipe


def from_json(folder: Path, content: object, name: str = "config.json", **options: Any) -> Preprocessing:
    (folder / name).write_text(json.dumps(content))
    return read_recipe(folder / name, **options)


VIT = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.25, 0.5],
    "image_processor_type": "ViTImageProcessor",
}


def test_own_toml_and_json_agree(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        """
        [preprocess]
        layout = "NHWC"
        channel_order = "BGR"
        range = 255
        mean = [0.4, 0.5, 0.6]
        std = 0.5
        size = 224
        guessed = true
        resize = 256
        interpolation = "bicubic"
        crop = [224, 200]
        crop_rounding = "floor"
        fill = 3
        """
    )
    wanted = Preprocessing(
        layout="NHWC",
        channel_order="BGR",
        range=(0, 255),
        mean=(0.4, 0.5, 0.6),
        std=(0.5,),
        size=(224, 224),
        geometry=Geometry(
            resize=256, interpolation="bicubic", crop=(224, 200), crop_rounding="floor", fill=(3,)
        ),
        source="specprobe: r.toml",
        guessed=True,
    )
    assert read_recipe(tmp_path / "r.toml") == wanted
    content = {
        "layout": "NHWC",
        "channel_order": "BGR",
        "range": [0, 255],
        "mean": [0.4, 0.5, 0.6],
        "std": [0.5],
        "size": [224, 224],
        "guessed": True,
        "source": "specprobe: r.toml",
        "geometry": {
            "resize": 256,
            "interpolation": "bicubic",
            "crop": [224, 200],
            "crop_rounding": "floor",
            "fill": [3],
        },
    }
    assert from_json(tmp_path, content) == wanted
    assert from_json(tmp_path, {"resize": [20, 30]}).geometry.resize == (20, 30)
    assert from_json(tmp_path, {}) == Preprocessing(source="specprobe: config.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"meen": 1, "crops": 2}, r"config\.json: unknown crops, meen; accepted are layout, channel_order"),
        ({"geometry": {"size": 3}}, "unknown size"),
        ({"geometry": 3}, "geometry is 3; accepted is a table of resize"),
        ({"mean": []}, r"mean is \[\]"),
        ({"mean": ["a"]}, r"mean is \['a'\]"),
        ({"mean": True}, "mean is True"),
        ({"mean": [1, 2], "std": [1, 2, 3]}, "mean has 2 values, std has 3"),
        ({"std": [1, 0, 1]}, r"std is \(1\.0, 0\.0, 1\.0\); every value must be above 0"),
        ({"mean": math.nan}, r"mean is \(nan,\); accepted are finite"),
        ({"range": "a:b"}, "range is 'a:b'; accepted are 1, 255, LOW:HIGH"),
        ({"range": [1, 2, 3]}, r"range is \[1, 2, 3\]"),
        ({"range": [1, 1]}, r"range is \(1\.0, 1\.0\); accepted are two different"),
        ({"range": None}, "range is None"),
        ({"layout": "CHW"}, "layout is 'CHW'; accepted are NCHW, NHWC, flat"),
        ({"channel_order": "rgb"}, "channel_order is 'rgb'; accepted are RGB, BGR, grey"),
        ({"size": [1, 2, 3]}, r"size is \[1, 2, 3\]"),
        ({"size": [0, 2]}, r"size is \(0, 2\); accepted: height and width, 1 to"),
        ({"size": "224"}, "size is '224'"),
        ({"resize": 0}, r"resize is \(0,\); accepted: a whole number"),
        ({"resize": 2.5}, r"resize is \(2\.5,\); accepted are whole"),
        ({"resize": [1, 2, 3]}, r"resize is \(1, 2, 3\); accepted: height and width"),
        ({"crop": [10**9, 2]}, "crop is"),
        ({"edge": "short"}, "edge is 'short'; accepted are shortest, longest"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic'; accepted are nearest, box"),
        ({"crop_rounding": "up"}, "crop_rounding is 'up'"),
        ({"edge_rounding": "up"}, "edge_rounding is 'up'"),
        ({"fill": [1, 2]}, r"fill is \(1, 2\); accepted are one value or three"),
        ({"fill": 256}, "fill is"),
        ({"fill": "a"}, "fill is"),
        ({"guessed": 1}, "guessed is 1"),
        ([1], r"config\.json is a list; accepted is an object"),
    ],
)
def test_bad_own_files(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        from_json(tmp_path, content)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b"{", r"recipe a\.json cannot be parsed"),
        ("a.json", b"[" * 200_000, r"recipe a\.json cannot be parsed"),
        ("a.json", b"\xff\xff", r"recipe a\.json cannot be parsed"),
        ("a.json", b'{"mean": ' + b" " * 2_000_000 + b"1}", r"recipe a\.json cannot be parsed"),
        (
            "a.toml",
            b"mean = 1\n" + b"\n" * 2_000_000 + b"std = 2",
            r"recipe a\.toml is longer than 1048576 bytes",
        ),
        ("a.json", b'{"range": 1' + b"0" * 400 + b"}", r"a\.json: range is 10{400}; accepted are 1, 255"),
        ("a.json", b'{"mean": 1' + b"0" * 400 + b"}", r"a\.json: int too large"),
        ("a.toml", b"mean = ", r"recipe a\.toml cannot be parsed"),
        ("b.toml", None, r"recipe b\.toml cannot be read: No such file"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(RecipeError, match=message):
        read_recipe(tmp_path / name)


KEYS = [
    "layout", "channel_order", "range", "mean", "std", "size", "geometry", "source", "guessed",
    "resize", "edge", "interpolation", "crop", "fill", "pretrained_cfg", "data_config",
    "image_processor", "preprocess", "input_size", "crop_pct", "crop_mode", "test_input_size",
    "do_resize", "do_center_crop", "do_rescale", "do_normalize", "rescale_factor", "rescale_offset",
    "include_top", "resample", "crop_size", "image_mean", "image_std", "image_processor_type",
    "data_format", "do_flip_channel_order",
]  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 1000)
    | st.floats()
    | st.sampled_from(["NCHW", "RGB", "bicubic", "1:2", "ConvNextImageProcessor", "squash", 10**400]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, "height", "width", "shortest_edge"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_any_content_is_a_recipe_or_a_recipe_error(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    with contextlib.suppress(RecipeError):
        assert isinstance(from_json(tmp_path_factory.getbasetemp(), content, "any.json"), Preprocessing)


TIMM = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
}


def test_timm_center(tmp_path: Path) -> None:
    wanted = Preprocessing(
        channel_order="RGB",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        size=(224, 224),
        geometry=Geometry(resize=248, interpolation="bicubic", crop=(224, 224)),
        source="timm: config.json",
    )
    repository = {
        "architecture": "resnet50",
        "num_classes": 1000,
        "pretrained_cfg": {**TIMM, "url": "", "num_classes": 5},
    }
    assert from_json(tmp_path, TIMM) == from_json(tmp_path, repository) == wanted
    wrapped = {"image_processor_type": "TimmWrapperImageProcessor", "data_config": TIMM, "architecture": "x"}
    assert from_json(tmp_path, wrapped) == wanted


def test_timm_defaults_are_timms(tmp_path: Path) -> None:
    recipe = from_json(tmp_path, {"input_size": [3, 224, 224], "crop_mode": None})
    assert recipe.geometry == Geometry(resize=256, interpolation="bicubic", crop=(224, 224))
    assert (recipe.mean, recipe.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert from_json(tmp_path, {"input_size": [1, 28, 28], "mean": 0.1, "std": 0.3}).channel_order is None


def test_timm_test_size_counts_as_in_validation(tmp_path: Path) -> None:
    content = {**TIMM, "test_input_size": [3, 288, 288], "test_crop_pct": 1.0}
    assert from_json(tmp_path, content).geometry == Geometry(
        resize=288, interpolation="bicubic", crop=(288, 288)
    )
    assert from_json(tmp_path, content, test_size=False).size == (224, 224)


def test_timm_squash_and_border(tmp_path: Path) -> None:
    squashed = from_json(
        tmp_path, {**TIMM, "input_size": [3, 256, 128], "crop_mode": "squash", "crop_pct": 0.95}
    )
    assert squashed.geometry == Geometry(resize=(269, 134), interpolation="bicubic", crop=(256, 128))
    bordered = from_json(tmp_path, {**TIMM, "crop_mode": "border", "crop_pct": 1, "mean": [0, 0.5, 1]})
    assert bordered.geometry == Geometry(
        resize=224,
        edge="longest",
        edge_rounding="round",
        interpolation="bicubic",
        crop=(224, 224),
        fill=(0, 128, 255),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_mode": "random"}, "crop_mode is 'random'; accepted are center, squash, border"),
        ({"interpolation": "random"}, "interpolation is 'random'"),
        ({"crop_pct": 0}, "crop_pct is 0; accepted is a number from 1e-6"),
        ({"crop_pct": "1"}, "crop_pct is '1'"),
        ({"input_size": [3, 224]}, r"input_size\[1:\] is \[224\]"),
        ({"input_size": []}, r"input_size is \[\]"),
        ({"input_size": 224}, "input_size is 224; accepted are whole numbers"),
        (
            {"input_size": [3, 224, 192]},
            "crop_mode 'center' with input_size 224x192 is supported for squares only",
        ),
        ({"crop_border_pixels": 4}, "crop_border_pixels = 4 is not supported"),
    ],
)
def test_timm_refusals(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        from_json(tmp_path, {**TIMM, **change})


def test_hugging_face_vit(tmp_path: Path) -> None:
    recipe = from_json(tmp_path, VIT, "preprocessor_config.json")
    assert recipe == Preprocessing(
        channel_order="RGB",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.25, 0.5),
        size=(224, 224),
        geometry=Geometry(resize=(224, 224), interpolation="bilinear", crop_rounding="floor"),
        source="Hugging Face: preprocessor_config.json",
    )
    assert from_json(tmp_path, {"image_processor": VIT}, "preprocessor_config.json") == recipe


CLIP = {
    **VIT,
    "image_processor_type": "CLIPImageProcessorFast",
    "do_center_crop": True,
    "resample": 3,
    "crop_size": 224,
}


@pytest.mark.parametrize(
    ("content", "geometry"),
    [
        (
            {**CLIP, "size": {"shortest_edge": 256}},
            Geometry(resize=256, interpolation="bicubic", crop=(224, 224), crop_rounding="floor"),
        ),
        (
            {**CLIP, "size": 256, "crop_size": {"height": 224, "width": 192}},
            Geometry(resize=256, interpolation="bicubic", crop=(224, 192), crop_rounding="floor"),
        ),
        (
            {**CLIP, "size": {"longest_edge": 256}, "do_center_crop": False, "resample": 1},
            Geometry(resize=256, edge="longest", interpolation="lanczos", crop_rounding="floor"),
        ),
        ({**VIT, "size": 224}, Geometry(resize=(224, 224), crop_rounding="floor")),
        ({**VIT, "size": [224, 160]}, Geometry(resize=(224, 160), crop_rounding="floor")),
        ({**VIT, "do_resize": False}, Geometry(crop_rounding="floor")),
        (
            {
                **VIT,
                "image_processor_type": None,
                "feature_extractor_type": "ConvNextFeatureExtractor",
                "size": 224,
            },
            Geometry(resize=256, crop=(224, 224), crop_rounding="floor"),
        ),
        (
            {
                **VIT,
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 288},
                "crop_pct": 0.95,
            },
            Geometry(resize=303, crop=(288, 288), crop_rounding="floor"),
        ),
        (
            {
                **VIT,
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 384},
                "crop_pct": 0.95,
            },
            Geometry(resize=(384, 384), crop_rounding="floor"),
        ),
        (
            {**CLIP, "image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}},
            Geometry(resize=256, interpolation="bicubic", crop=(224, 224), crop_rounding="floor"),
        ),
    ],
)
def test_hugging_face_geometry(tmp_path: Path, content: dict[str, Any], geometry: Geometry) -> None:
    assert from_json(tmp_path, content).geometry == geometry


@given(
    pixel=st.integers(0, 255),
    rescale=st.booleans(),
    factor=st.sampled_from([1 / 255, 0.00392156862745098, 1 / 127.5, 0.01]),
    offset=st.booleans(),
    normalise=st.booleans(),
    again=st.booleans(),
    mean=st.floats(0, 1),
    std=st.floats(0.01, 2),
)
def test_hugging_face_numbers_are_theirs(
    tmp_path_factory: pytest.TempPathFactory,
    pixel: int,
    rescale: bool,
    factor: float,
    offset: bool,
    normalise: bool,
    again: bool,
    mean: float,
    std: float,
) -> None:
    content = {
        **VIT,
        "do_rescale": rescale,
        "rescale_factor": factor,
        "rescale_offset": offset,
        "do_normalize": normalise,
        "image_mean": [mean],
        "image_std": [std],
        "include_top": again,
    }
    value = pixel * factor - offset if rescale else float(pixel)
    value = (value - mean) / std if normalise else value
    value = value / std if again else value
    recipe = from_json(tmp_path_factory.mktemp("hf"), content)
    low, high = recipe.range
    ours = low + (high - low) * (pixel / 255 - recipe.mean[0]) / recipe.std[0]
    assert ours == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_hugging_face_orders(tmp_path: Path) -> None:
    flipped = {**VIT, "do_normalize": False, "do_flip_channel_order": True, "data_format": "channels_last"}
    recipe = from_json(tmp_path, flipped)
    assert (recipe.channel_order, recipe.layout, recipe.range) == ("BGR", "NHWC", (0, 1))
    assert from_json(tmp_path, {**VIT, "data_format": "channels_first"}).layout is None
    assert from_json(tmp_path, {**VIT, "image_mean": [0.5], "image_std": [0.5]}).channel_order is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_pad": True, "pad_size": 3}, "do_pad, pad_size not supported"),
        ({"rescale_offset": 0.5}, r"rescale_offset is 0\.5; accepted are true"),
        ({"rescale_factor": 0}, "rescale_factor is 0; accepted is a number from 1e-6"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order together with do_normalize"),
        ({"image_mean": None}, "image_mean is None"),
        ({"data_format": "channels"}, "data_format is 'channels'; accepted are channels_first"),
        ({"image_std": [0, 1, 1]}, "every value must be above 0"),
        ({"resample": None}, "resample is None; accepted are Pillow's filters 0 to 5"),
        ({"crop_pct": 0.9}, "crop_pct of ViT is not supported"),
        ({"do_center_crop": True}, "crop_size is None"),
        ({"size": 224, "image_processor_type": "OddImageProcessor"}, "size is 224 for Odd; accepted are"),
        ({"size": {"shortest_edge": 3, "longest_edge": 4}}, "size is .* for ViT"),
        ({"size": None}, "size is None"),
    ],
)
def test_hugging_face_refusals(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        from_json(tmp_path, {**VIT, **change})
