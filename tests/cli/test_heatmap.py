"""``specprobe heatmap``: what it prints and writes, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specprobe_cli.heatmap_table import heatmap_table
from specprobe_cli.output import console

import specprobe
from specprobe.analysis.heatmap_rings import estimate
from specprobe.results import from_document, read_document

MODELS = Path(__file__).resolve().parents[2] / "models"
BANDS, DIGITS = MODELS / "bands", MODELS / "digits"
RUN = ("heatmap", DIGITS / "normal.onnx", "--data", DIGITS / "test.npz", "--limit", "20")


def images(calls: Any) -> int:
    return sum(call.images for call in calls)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--grid", "5", "--no-clip", "--phase", "45"),
        ("--phase", "random", "--grid", "4", "--target", "predicted"),
        ("--phase", "worst-of-two", "--grid", "16"),
        ("--first-order",),
        ("--first-order", "--sample", "10", "--phase", "worst-of-two"),
        ("--first-order", "--sample", "2"),
        ("--limit", "1", "--grid", "3"),
        ("--refine", "4"),
        ("--refine", "2", "--grid", "7", "--phase", "worst-of-two", "--layer", "/4/Relu_output_0"),
        ("--layer", "/2/Relu_output_0", "--layer", "logits", "--grid", "3"),
        ("--first-order", "--sample", "5", "--layer", "logits"),
    ],
    ids=" ".join,
)
def test_documents_are_valid_and_read_back(document: Any, words: tuple[str, ...]) -> None:
    content = document(*RUN, *words)
    assert content["kind"] == "fourier_heatmap"
    assert from_document(content).to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"]
    assert content["provenance"]["settings"]["shard_images"] == 16
    assert content["provenance"]["settings"]["sample"] == (
        None if "--first-order" not in words else int(words[2]) if "--sample" in words else 64
    )


def test_document_is_what_the_library_gives(document: Any) -> None:
    options = ("--l2-norm", "2.5", "--phase", "random", "--grid", "7", "--no-clip", "--seed", "3")
    content = document(*RUN, *options, "--first-order", "--sample", "9", "--target", "predicted")
    images = specprobe.load_images(DIGITS / "test.npz", limit=20)
    library = specprobe.fourier_heatmap(
        specprobe.load(DIGITS / "normal.onnx", image_shape=images.image_shape),
        images,
        l2_norm_per_channel=2.5,
        phase="random",
        frequencies=7,
        clip=False,
        seed=3,
        first_order=True,
        sample=9,
        target="predicted",
    )
    assert library.to_dict() == content["result"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "2620 model evaluations, 130 of 130 frequencies on 20 images"),
        (("--grid", "5"), "280 model evaluations, 13 of 130 frequencies"),
        (("--grid", "6"), "500 model evaluations, 24 of 130"),
        (("--phase", "worst-of-two"), "5140 model evaluations, 130 of 130"),
        (("--phase", "worst-of-two", "--grid", "5"), "520 model evaluations, 13 of 130"),
        (("--first-order",), "1300 model evaluations and 20 gradients, 64 of 130"),
        (("--first-order", "--grid", "5"), "280 model evaluations and 20 gradients, 13 of 130"),
        (("--first-order", "--phase", "worst-of-two"), "at most 2580 model evaluations and 20 gradients"),
    ],
    ids=str,
)
def test_cost_is_told_before_the_run(run: Any, words: tuple[str, ...], told: str) -> None:
    code, out, err = run(*RUN, *words, "--json")
    assert code == 0
    assert err.startswith(f"heatmap: {told}")
    result = json.loads(out)["result"]
    numbers = [int(number) for number in re.findall(r"\d+", err)]
    if "at most" in err:
        assert result["model_evaluations"] <= numbers[0] <= result["model_evaluations"] + 4 * 20
    else:
        assert numbers[0] == result["model_evaluations"]
    assert f" {result['frequencies_evaluated']} of 130 frequencies" in err
    assert run(*RUN, "--grid", "1", "-q") == (0, "", "")


def test_document_without_labels_is_valid(document: Any, run: Any, refusal: Any, unlabelled: Any) -> None:
    words = ("heatmap", BANDS / "mid.onnx", "--data", unlabelled(BANDS / "mid.npz", 5), "--grid", "3")
    content = document(*words)
    assert content["result"]["clean_accuracy"] is None
    assert content["result"]["target"] == "predicted"
    code, out, _ = run(*words)
    assert code == 0
    assert "the images have no labels" in out
    assert "other than that to the clean image" in out
    assert "--labels FILE" in refusal(*words, "--target", "true", code=4)


def test_table_shows_the_planted_band_and_the_worst_frequency(run: Any, document: Any) -> None:
    words = ("heatmap", BANDS / "mid.onnx", "--data", BANDS / "mid.npz", "--limit", "20")
    code, out, _ = run(*words)
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line.strip()]
    means = {
        line[0]: (line[1], float(line[3])) for line in lines if line[1:2] in (["low"], ["mid"], ["high"])
    }
    assert {label: band for label, (band, _) in means.items() if "–" in label} == {
        "1–5": "low",
        "6–10": "mid",
        "11–23": "high",
    }
    assert means["8"] > ("mid", 0.3)
    assert means["3"] < ("low", 0.05)
    assert "│ clean error" in out
    assert "█" in out
    (worst,) = [line for line in out.splitlines() if line.startswith("worst frequency")]
    f_y, f_x = map(int, re.findall(r"\((-?\d+), (-?\d+)\)", worst)[0])
    assert 6 <= np.hypot(f_y, f_x) <= 10
    content = document(*words)
    rate = np.array(content["result"]["error_rate"])
    assert rate[f_y + 16, f_x + 16] == rate.max()
    assert f"{rate.max():.3f} [" in worst
    assert "10300 model runs; 514 of 514 frequencies" in out
    assert max(map(len, out.splitlines())) <= 120


def test_means_by_ring_are_those_of_the_cells_that_were_evaluated(document: Any, shown: Any) -> None:
    content = document(*RUN, "--grid", "5")
    out = shown(heatmap_table(content, every_ring=False))
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    rate = np.array(content["result"]["error_rate"], float)[6:11, 6:11]
    ring = np.floor(np.hypot(*np.mgrid[-2:3, -2:3]) + 0.5)
    for r in (1, 2):
        assert rows[str(r)][2:4] == [str(int((ring == r).sum())), f"{rate[ring == r].mean():.3f}"]
    assert "not evaluated" in " ".join(rows["8"])
    assert "13 of 130 frequencies were evaluated" in out


def test_many_rings_share_rows_unless_all_are_asked_for(document: Any, shown: Any) -> None:
    content = document(*RUN, "--grid", "1")
    result, side = content["result"], 64
    result["image_size"] = [side, side]
    for name in ("error_rate", "loss_increase"):
        result[name] = np.full((side, side), 0.25).tolist()
    result["error_rate_interval"] = np.broadcast_to([0.2, 0.3], (side, side, 2)).tolist()
    for name in ("error_rate", "loss_increase"):
        result[f"ring_{name}_interval"] = [[0.2, 0.3]] * 50
    short = shown(heatmap_table(content, every_ring=False))
    whole = shown(heatmap_table(content, every_ring=True))
    assert "1–3" in short
    assert len(short.splitlines()) < 35
    assert len(whole.splitlines()) > 45


def test_means_are_shown_with_their_intervals(document: Any, shown: Any) -> None:
    content = document(*RUN, "--grid", "9")
    result = content["result"]
    out = shown(heatmap_table(content, every_ring=False))
    for rows, part in (((1, 2, 3), "ring"), ((0, 1), "band")):
        for row in rows:
            for name in ("error_rate", "loss_increase"):
                mean, (low, high) = (result[f"{part}_{name}{end}"][row] for end in ("", "_interval"))
                assert f"{mean:.3f} [{low:.3f}, {high:.3f}]" in out
    assert max(map(len, out.splitlines())) <= 120


def test_rows_of_several_rings_have_intervals_of_their_own() -> None:
    class Corners:
        classes = 3

        def logits(self, images: Any, /) -> Any:
            return images[:, 0, 0, :3]

    images = np.random.default_rng(0).random((40, 1, 48, 48), dtype=np.float32)
    labels = images[:, 0, 0, :3].argmax(axis=1)
    result = specprobe.fourier_heatmap(Corners(), images, labels, frequencies=9, l2_norm_per_channel=9)
    content = {"model": {"file": "corners"}, "data": {}, "result": result.to_dict()}
    for measured in (result, None):
        table = heatmap_table(content, every_ring=False, measured=measured)
        with (made := console()).capture() as shown:
            made.print(table)
        (row,) = [line for line in shown.get().splitlines() if line.strip().startswith("1–3 ")][:1]
        found = estimate(result, "error_rate", 1, 4)
        assert found is not None
        mean, (low, high) = found
        text = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
        assert (text in row) == (measured is not None)
        assert f"{mean:.3f}" in row


def test_refinement_is_told_with_its_passes(run: Any, shown: Any) -> None:
    words = ("heatmap", BANDS / "low.onnx", "--data", BANDS / "low.npz", "--limit", "30", "--refine", "4")
    code, out, err = run(*words, "--json")
    assert code == 0
    result = json.loads(out)["result"]
    levels = result["refinement_levels"]
    coarse = levels[0]["frequencies"]
    assert err == (
        f"heatmap: at least {30 * (1 + coarse)} model evaluations, {coarse} of 514 frequencies on 30 images; more "
        "where the map changes, up to 514 frequencies\n"
    )
    assert coarse < result["frequencies_evaluated"] == sum(part["frequencies"] for part in levels) < 514
    assert result["model_evaluations"] == 30 * (len(levels) + result["frequencies_evaluated"])
    assert np.array_equal(result["evaluated"], np.array(result["error_rate"], float) >= 0)
    text = " ".join(shown(heatmap_table(json.loads(out), every_ring=False)).split())
    assert f"{len(levels)} passes: {coarse} at stride 4, " in text
    assert "frequencies were evaluated: a grid of stride 4, and more where the map changes" in text


def test_layers_are_told_with_the_frequency_that_moves_them_most(document: Any, shown: Any) -> None:
    names = ("/2/Relu_output_0", "/4/Relu_output_0")
    words = ("heatmap", BANDS / "mid.onnx", "--data", BANDS / "mid.npz", "--limit", "10", "--grid", "19")
    content = document(*words, *(word for name in names for word in ("--layer", name)))
    assert content["provenance"]["settings"]["layers"] == list(names)
    out = shown(heatmap_table(content, every_ring=False))
    for name, layer in zip(names, content["result"]["layers"], strict=True):
        assert layer["name"] == name
        (line,) = [line for line in out.splitlines() if f"tensor           {name}  " in line]
        change = np.array(layer["layer_change"], float)
        assert f"mean L2 change {np.nanmean(change):.3g}" in line
        f_y, f_x = map(int, re.findall(r"\((-?\d+), (-?\d+)\)", line)[0])
        assert change[f_y + 16, f_x + 16] == np.nanmax(change)
        assert 7 <= np.hypot(f_y, f_x) <= 9.5, "within the planted band"


def test_a_layer_that_does_not_exist_is_refused(run: Any) -> None:
    code, out, err = run(*RUN, "--grid", "3", "--layer", "/2/Relu", "-q")
    assert (code, out) == (3, "")
    assert "there is no tensor '/2/Relu'" in err
    assert "close to it are '/2/Relu_output_0'" in err


def test_first_order_is_told_with_what_it_is_worth(document: Any, shown: Any) -> None:
    content = document(*RUN, "--first-order", "--l2-norm", "3")
    result = content["result"]
    out = shown(heatmap_table(content, every_ring=False))
    low, high = result["rank_correlation_interval"]
    assert (
        f"rank correlation, flips           {result['rank_correlation']:.3f} [{low:.3f}, {high:.3f}]" in out
    )
    assert "rank correlation, rms derivative" in out
    assert "1 the same order, 0 none" in " ".join(out.split())
    assert "1300 model runs, 20 gradients; 64 of 130 frequencies" in out
    assert max(map(len, out.splitlines())) <= 120
    for name, bounds in (("rank_correlation", [-0.1, 0.4]), ("derivative_rms_rank_correlation", [0.2, 0.6])):
        result[f"{name}_interval"] = bounds
    out = shown(heatmap_table(content, every_ring=False))
    assert "not shown to rank the frequencies of this model: flips;" in out


def test_a_sample_too_small_to_rank_is_told(run: Any) -> None:
    code, out, _ = run(*RUN, "--first-order", "--sample", "2")
    assert code == 0
    assert "a rank correlation is null" in out
    assert "not shown to rank the frequencies of this model: flips, rms derivative" in out


def test_files_hold_the_arrays_and_the_figure(files: Any) -> None:
    written = files(*RUN, "--first-order")
    result = read_document(written[".json"])["result"]
    with np.load(written[".npz"], allow_pickle=False) as archive:
        assert archive["digest"].shape == (20, 16)
        assert archive["correct"].sum() == result["correct"]
        for name in ("error_rate", "loss_increase", "derivative_rms", "flip_probability"):
            np.testing.assert_array_equal(archive[name], np.array(result[name], float))
            assert archive[f"{name}_interval"].shape == (16, 16, 2)
        assert archive["image_error_rate"].mean() == pytest.approx(np.nanmean(archive["error_rate"]))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_figures_are_written_and_equal(run: Any, tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        assert run(*RUN, "--grid", "5", "-q", "-o", tmp_path / f"{name}.{suffix}")[0] == 0
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--l2-norm", "0"), "'0' is not a number above 0 such as 4"),
        (("--l2-norm", "x"), "'x' is not a number above 0"),
        (("--l2-norm", "inf"), "'inf' is not a number above 0"),
        (("--phase", "90"), "'90' is not one of '0', '45', 'random', 'worst-of-two'"),
        (("--grid", "0"), "0 is not in the range x>=1"),
        (("--sample", "5"), "--sample goes with --first-order"),
        (("--refine", "3"), "--refine takes a power of two from 2"),
        (("--refine", "1"), "1 is not in the range x>=2"),
        (("--refine", "4", "--first-order"), "--refine goes without --first-order"),
    ],
)
def test_settings_out_of_range_are_usage_errors(refusal: Any, words: tuple[str, ...], message: str) -> None:
    assert message in refusal(*RUN, *words)


def test_a_grid_larger_than_the_images_is_refused(refusal: Any) -> None:
    err = refusal(*RUN, "--grid", "17", code=4)
    assert "the side of the sub-grid is 17; accepted are whole numbers from 1 to 16" in err


def test_data_are_asked_for(refusal: Any) -> None:
    err = refusal("heatmap", DIGITS / "normal.onnx")
    assert "heatmap needs images to add frequencies to: --data SRC" in err


def test_interrupted_run_resumes_to_the_same_document(resumed: Any) -> None:
    def in_second_shard(made: Any, _: Any) -> bool:
        return images(made) > 16 * 6

    done = resumed(*RUN, "--grid", "3", stop=in_second_shard)
    assert images(done.left) == 4 * 6, "only the second shard's four images, clean and under five frequencies"


def test_interrupted_refinement_resumes_to_the_same_document(resumed: Any) -> None:
    first = 20 * (1 + 19)  # clean, and under the frequencies at stride 4

    def in_second_pass(made: Any, _: Any) -> bool:
        return images(made) > first + 16 * 4

    done = resumed(*RUN, "--refine", "4", stop=in_second_pass)
    result = done.document["result"]
    assert result["refinement_levels"][0]["frequencies"] == 19
    assert images(done.left) == result["model_evaluations"] - first, "the coarse grid is not done twice"


@pytest.mark.slow
def test_dask_gives_the_same_document(document: Any) -> None:
    distributed = pytest.importorskip("distributed")
    options = ("--grid", "5", "--layer", "/2/Relu_output_0", "--threads", "1")
    wanted = document(*RUN, *options)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None
    ) as cluster:
        found = document(*RUN, *options, "--dask", cluster.scheduler_address)
    assert found["result"] == wanted["result"]
    assert found["provenance"]["settings"]["dask"] is True


@pytest.mark.assets
def test_first_order_is_doubted_where_it_does_not_rank(document: Any, assets: Path, shown: Any) -> None:
    model = assets / "models" / "cifar10_ada_resnet4b_pgd.onnx"
    data = assets / "data" / "cifar10_lossless_test.npz"
    content = document("heatmap", model, "--data", data, "--limit", "100", "--first-order")
    assert content["result"]["rank_correlation"] < 0.3
    out = shown(heatmap_table(content, every_ring=False))
    assert "not shown to rank the frequencies of this model: flips, rms derivative" in out
