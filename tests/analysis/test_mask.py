"""Fourier masks of classifiers that are known to read some frequencies and no others."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import specprobe
from specprobe.analysis import mask_data
from specprobe.analysis.heatmap_additions import cross_entropy
from specprobe.analysis.mask import FourierMask, MaskProgress, fourier_mask
from specprobe.arrays import namespace, to_host
from specprobe.errors import CheckpointError, DataError, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.results import document, from_document, read_results, write_npz
from specprobe.spectral.grid import mirror_index
from specprobe.spectral.masks import apply_mask, low_pass
from specprobe.streaming import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES, SIZE, CUTOFF = 3, 8, 2.5


class Linear:
    """Logits are products with fixed images, behind an exact low-pass."""

    classes = CLASSES

    def __init__(self, *, behind: float = CUTOFF, channels: int = 3, sharpness: float = 4.0) -> None:
        weight = np.random.default_rng(5).normal(size=(CLASSES, channels, SIZE, SIZE))
        kept = apply_mask(
            weight - weight.mean(axis=(2, 3), keepdims=True), low_pass((SIZE, SIZE), cutoff=behind)
        )
        self.weight = (sharpness * kept / np.sqrt((kept**2).mean())).astype(np.float32) / SIZE
        self.calls = 0

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        flat = xp.reshape(images, (images.shape[0], -1))
        return xp.matmul(flat, xp.asarray(self.weight.reshape(CLASSES, -1).T.copy()))

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        xp = namespace(images)
        return xp.reshape(
            xp.matmul(cotangent, xp.asarray(self.weight.reshape(CLASSES, -1).copy())), images.shape
        )

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        self.calls += 1
        xp = namespace(images)
        logits = self.logits(images)
        odds = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
        wanted = to_host(labels)
        one_hot = xp.asarray(np.eye(CLASSES, dtype=np.float32)[wanted])
        d_logits = odds / xp.sum(odds, axis=1, keepdims=True) - one_hot
        losses = xp.asarray(cross_entropy(logits, wanted).astype(np.float32))
        return losses, self.vjp(images, d_logits)


def pictures(images: int = 60, *, channels: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0, 1, (images, channels, SIZE, SIZE)).astype(np.float32)


def labelled(images: int = 60, *, wrong: int = 0) -> ArraySource:
    pixels = pictures(images)
    labels = np.argmax(Linear().logits(pixels), axis=1)
    labels[:wrong] = (labels[:wrong] + 1) % CLASSES
    return ArraySource(pixels, labels)


OUTSIDE = ~low_pass((SIZE, SIZE), cutoff=CUTOFF)


@pytest.mark.parametrize("preset", ["default", pytest.param("karantzas", marks=pytest.mark.slow)])
def test_the_mask_vanishes_where_the_model_does_not_look(preset: str) -> None:
    result = fourier_mask(Linear(), labelled(30), preset=preset)
    mask = result.mask
    assert mask is not None
    assert result.masked_accuracy is not None
    assert result.accuracy == 1
    assert result.masked_accuracy >= 0.99
    assert not mask[OUTSIDE].any()
    assert mask[~OUTSIDE].any()
    assert result.converged or preset == "karantzas"
    assert result.radial_energy[radius_of_bands() > CUTOFF].max() == 0
    assert result.complement_accuracy is not None
    assert result.complement_accuracy < 0.7, (
        "it keeps what the model does not look at, and what is not needed"
    )


def radius_of_bands() -> Any:
    from specprobe.analysis.mask_energy import radial_centres

    return radial_centres((SIZE, SIZE)) - 0.1


@pytest.mark.parametrize("options", [{}, {"per_channel": True}, {"per_image": True}, {"preset": "karantzas"}])
def test_masks_are_symmetric_within_one_and_of_the_stated_shape(options: dict[str, Any]) -> None:
    result = fourier_mask(Linear(), labelled(12), max_epochs=5, **options)
    mask, masks = result.mask, result.masks
    assert mask is not None
    assert masks is not None
    images = 12 if options.get("per_image") else 1
    assert masks.shape == (images, 3 if options.get("per_channel") else 1, SIZE, SIZE)
    assert mask.shape == (*(side for side in masks.shape[:2] if side > 1), SIZE, SIZE)
    assert mask.dtype == np.float32
    assert np.array_equal(mask, mask.reshape(*mask.shape[:-2], -1)[..., mirror_index((SIZE, SIZE))])
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert result.density == pytest.approx(mask.mean(dtype=np.float64), rel=1e-6)


def test_counts_are_those_of_the_masked_images() -> None:
    source = labelled(50, wrong=10)
    result = fourier_mask(Linear(), source, max_epochs=8)
    batch, mask = source.read(0, 50), result.mask
    assert mask is not None
    assert batch.labels is not None
    clean, masked, rest = (
        np.argmax(Linear().logits(apply_mask(batch.images, kept.astype(np.float32))), axis=1)
        for kept in (np.ones_like(mask), mask, mask == 0)
    )
    assert result.correct == 40
    assert result.masked_correct == int((masked == batch.labels).sum())
    assert result.complement_correct == int((rest == batch.labels).sum())
    assert result.agreement == float((masked == clean).mean())
    assert result.complement_agreement == float((rest == clean).mean())
    assert result.kept == int((masked == batch.labels).sum()) / 40
    assert result.image_agrees is not None
    assert result.image_agrees.tolist() == (masked == clean).tolist()
    assert result.image_class is not None
    assert result.image_class.tolist() == batch.labels.tolist()
    assert result.held_out == 10
    assert result.gradient_evaluations == 40 * result.epochs
    assert result.forward_evaluations == 50 * (result.epochs + 3)
    for name in ("accuracy", "masked_accuracy", "complement_accuracy", "agreement", "held_out_agreement"):
        low, high = getattr(result, f"{name}_interval")
        assert low <= getattr(result, name) <= high


def test_the_published_preset_takes_every_image_once_an_epoch() -> None:
    classifier = Linear()
    result = fourier_mask(classifier, labelled(10), preset="karantzas", max_epochs=3)
    assert result.gradient_evaluations == classifier.calls == 30
    assert (result.images_per_step, result.held_out, result.epochs) == (1, 0, 3)
    assert not result.converged
    assert "not-converged" in {finding.code for finding in result.findings}


@pytest.mark.slow
def test_each_image_has_the_mask_that_it_would_have_alone() -> None:
    source = labelled(6, wrong=2)
    together = fourier_mask(Linear(), source, per_image=True, batch_size=4)
    assert together.target == "predicted"
    assert together.agreement == 1
    assert together.converged
    assert together.image_converged is not None
    assert together.image_gradients is not None
    assert together.image_gradients.min() > 1
    assert together.image_gradients.sum() == together.gradient_evaluations
    assert together.image_density is not None
    masks, pixels = together.masks, source.read(0, 6).images
    assert masks is not None
    for i in range(6):
        alone = fourier_mask(Linear(), pixels[i : i + 1], per_image=True)
        # At a mask of ones nothing has changed, and rounding alone decides in which direction steps begin.
        assert alone.density == pytest.approx(together.image_density[i], rel=0.05)
        assert alone.image_agrees is not None
        assert alone.image_agrees.all()
    assert not masks[:, :, OUTSIDE].any()
    assert np.allclose(together.image_density, masks.mean(axis=(1, 2, 3)))
    assert together.density_interval is not None
    low, high = together.density_interval
    assert low < together.density < high
    whole = fourier_mask(Linear(), source, batch_size=4)
    assert together.density < whole.density, "what is enough for one image is less than what is for all"


@pytest.mark.slow
def test_the_published_mask_of_an_image_ends_where_nothing_changes() -> None:
    result = fourier_mask(Linear(), pictures(2), preset="karantzas", per_image=True, max_epochs=3000)
    assert result.agreement == 1
    assert result.mask is not None
    assert not result.mask[:, OUTSIDE].any()
    assert 300 < result.epochs <= 3000


@pytest.mark.slow
def test_a_mask_of_an_image_is_as_good_as_the_published_one_for_a_fifth_of_the_gradients() -> None:
    def price(result: FourierMask) -> Any:
        mask, pixels = result.masks, pictures(8)
        assert mask is not None
        masked = np.concatenate([apply_mask(pixels[i : i + 1], mask[i, 0]) for i in range(8)])
        clean, seen = Linear().logits(pixels), Linear().logits(masked.astype(np.float32))
        assert np.array_equal(clean.argmax(axis=1), seen.argmax(axis=1)), "predictions stand"
        change = cross_entropy(seen, clean.argmax(axis=1)) - cross_entropy(clean, clean.argmax(axis=1))
        return np.exp(change**2) - 1 + 0.07 * mask.mean(axis=(1, 2, 3))

    ours = fourier_mask(Linear(), pictures(8), per_image=True)
    published = fourier_mask(Linear(), pictures(8), per_image=True, preset="karantzas", max_epochs=3000)
    assert ours.converged
    assert ours.gradient_evaluations <= published.gradient_evaluations / 5
    assert price(ours).mean() <= 1.01 * price(published).mean()


def test_where_another_class_would_overtake_the_loss_falls_and_the_prediction_stands() -> None:
    """Two classes of equal odds but for one frequency: a mask without it changes no loss to speak of, and the answer."""

    class Tied(Linear):
        def __init__(self) -> None:
            super().__init__()
            x = np.arange(SIZE)
            faint = np.broadcast_to(np.cos(2 * np.pi * x / SIZE), (3, SIZE, SIZE)) / 100
            self.weight[1] = self.weight[0] - faint.astype(np.float32)

    pixels = pictures(400)
    logits = Tied().logits(pixels)
    close = pixels[(logits.argmax(axis=1) != 2) & (logits[:, :2].max(axis=1) > logits[:, 2] + 0.5)][:12]
    result = fourier_mask(Tied(), close, per_image=True)
    assert result.agreement == 1
    assert result.image_density is not None
    assert (result.image_density < 0.3).all(), result.image_density


@pytest.mark.slow
def test_every_library_gives_the_mask(placed: "Callable[[Any], Any]") -> None:
    pixels = pictures(16)
    kinds: list[dict[str, Any]] = [{}, {"per_image": True, "per_channel": True}]
    for options in kinds:
        expected = fourier_mask(Linear(), pixels, max_epochs=3, **options)
        found = fourier_mask(Linear(), placed(pixels), max_epochs=3, **options)
        assert expected.mask is not None
        assert isinstance(found.mask, np.ndarray)
        assert np.allclose(found.mask, expected.mask, atol=1e-3)


def test_images_that_do_not_fit_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = labelled(150)
    whole = fourier_mask(Linear(), source, max_epochs=2)
    reads: list[tuple[int, int]] = []
    read = ArraySource.read

    def counted(self: ArraySource, start: int, stop: int, /) -> Any:
        reads.append((start, stop))
        return read(self, start, stop)

    monkeypatch.setattr(ArraySource, "read", counted)
    assert fourier_mask(Linear(), source, max_epochs=2) == whole
    assert len(reads) == 3, "a read a shard"
    monkeypatch.setattr(mask_data, "IMAGE_BUDGET_BYTES", 4 * 3 * SIZE * SIZE * 149)
    assert fourier_mask(Linear(), source, max_epochs=2) == whole
    assert len(reads) > 150
    assert max(stop - start for start, stop in reads) <= 64


def test_the_seed_chooses_the_images_held_out_and_nothing_else_does() -> None:
    first, again, other = (
        fourier_mask(Linear(), labelled(40), max_epochs=2, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def interrupted_after(calls: int, classifier: Linear) -> Linear:
    gradient = classifier.gradient

    def stopping(*args: Any, **options: Any) -> Any:
        if classifier.calls == calls:
            raise KeyboardInterrupt
        return gradient(*args, **options)

    classifier.gradient = stopping  # type: ignore[method-assign]
    return classifier


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"max_epochs": 4}, {"preset": "karantzas", "max_epochs": 2}, {"per_image": True, "max_epochs": 30}],
)
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    settings = {"batch_size": 8, **options}
    whole_classifier = Linear()
    whole = fourier_mask(whole_classifier, labelled(20), **settings)
    for calls in (0, 1, 7, whole_classifier.calls // 2, whole_classifier.calls - 1):
        kept = Checkpoint(path=tmp_path / "state.npz", fingerprint="a", seconds=1e9)
        with pytest.raises(KeyboardInterrupt):
            fourier_mask(interrupted_after(calls, Linear()), labelled(20), checkpoint=kept, **settings)
        going_on = dataclasses.replace(kept, resume=True)
        classifier = Linear()
        assert fourier_mask(classifier, labelled(20), checkpoint=going_on, **settings) == whole
        assert classifier.calls == whole_classifier.calls - calls, "nothing is done twice"
        assert not kept.path.exists()


def test_an_interruption_of_the_last_count_is_made_good_without_learning_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specprobe.analysis import mask as module

    kept = Checkpoint(path=tmp_path / "state.npz", fingerprint="a")
    whole = fourier_mask(Linear(), labelled(20), max_epochs=2)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "masked_predictions", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fourier_mask(Linear(), labelled(20), max_epochs=2, checkpoint=kept)
    classifier = Linear()
    resumed = dataclasses.replace(kept, resume=True)
    assert fourier_mask(classifier, labelled(20), max_epochs=2, checkpoint=resumed) == whole
    assert classifier.calls == 0


def test_a_checkpoint_of_another_analysis_is_refused(tmp_path: Path) -> None:
    kept = Checkpoint(path=tmp_path / "state.npz", fingerprint="a", seconds=1e9)
    with pytest.raises(KeyboardInterrupt):
        fourier_mask(interrupted_after(3, Linear()), labelled(20), checkpoint=kept)
    with pytest.raises(CheckpointError, match="is of another analysis; delete it, or run without --resume"):
        fourier_mask(
            Linear(), labelled(20), per_image=True, checkpoint=dataclasses.replace(kept, resume=True)
        )


def test_progress_tells_steps_density_and_what_is_kept() -> None:
    told: list[MaskProgress] = []
    result = fourier_mask(Linear(), labelled(50), max_epochs=3, progress=told.append)
    assert [at.done for at in told] == sorted(at.done for at in told)
    assert told[-1].done == told[-1].total == 3 * 40
    assert told[0].kept is None
    assert told[-1].kept == result.history[-1][3]
    assert told[-1].density == result.history_density[-1]
    told.clear()
    fourier_mask(Linear(), labelled(7), per_image=True, batch_size=3, progress=told.append)
    assert [at.done for at in told] == sorted(at.done for at in told)
    assert (told[-1].done, told[-1].total) == (7, 7)


def test_document_arrays_and_result_read_back(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [{}, {"per_image": True}, {"per_image": True, "per_channel": True}]
    for options in kinds:
        result = fourier_mask(Linear(), labelled(10), max_epochs=3, **options)
        content = document(result)
        json.dumps(content, allow_nan=False)
        assert from_document(content).to_dict() == result.to_dict() == content["result"]
        write_npz(tmp_path / "mask.npz", content, result.arrays())
        [(_, again)] = read_results(tmp_path / "mask.npz")
        assert again == result
        for name in ("density", "radial_energy", "angular_energy"):
            assert (content["result"][f"{name}_interval"] is None) == ("per_image" not in options)


def test_without_labels_predictions_are_kept() -> None:
    result = fourier_mask(Linear(), pictures(30), max_epochs=8)
    assert (result.target, result.accuracy, result.masked_accuracy) == ("predicted", None, None)
    assert result.kept == result.agreement >= 0.99
    assert [finding.code for finding in result.findings][:1] == ["no-labels"]
    content = result.to_dict()
    assert content["accuracy"] is content["accuracy_interval"] is content["chance"] is None


def test_findings_tell_what_is_wrong() -> None:
    short = fourier_mask(Linear(), labelled(10), max_epochs=3, preset="karantzas")
    assert {finding.code for finding in short.findings} == {"not-converged"}
    none = fourier_mask(Linear(), labelled(30, wrong=30), max_epochs=2)
    assert "chance-level" in {finding.code for finding in none.findings}
    assert none.kept is None
    result = fourier_mask(Linear(), labelled(40), max_epochs=2)
    lost = dataclasses.replace(result, masked_correct=20, agreeing=32, held_out_agreeing=0, density=0.0)
    codes = {finding.code for finding in lost.findings}
    assert codes >= {"mask-keeps-too-little", "mask-overfits", "empty-mask"}


@pytest.mark.slow
def test_a_mask_that_keeps_too_little_makes_its_price_fall() -> None:
    result = fourier_mask(Linear(), labelled(40), sparsity_weight=50.0, agreement=1.0)
    weights = [entry[4] for entry in result.history]
    assert weights[0] == 50
    assert min(weight for weight in weights if weight is not None) < 50
    assert result.kept == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "ours"}, "preset is 'ours'; accepted are 'default' and 'karantzas'"),
        ({"sparsity_weight": 0.0}, "sparsity_weight is 0.0; accepted are numbers above 0, such as 0.2"),
        ({"max_epochs": 0}, "max_epochs is 0; accepted are whole numbers from 1, such as 20"),
        ({"agreement": 1.1}, "agreement is 1.1; accepted are numbers from 0 to 1, such as 0.99"),
        ({"batch_size": 0}, "batch_size is 0; accepted are whole numbers from 1"),
        ({"confidence": 1.0}, "confidence is 1.0; accepted are"),
        ({"target": "none"}, "target is 'none'; accepted are 'true'"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fourier_mask(Linear(), labelled(4), **options)


def test_models_without_a_gradient_and_data_without_labels_are_refused() -> None:
    class Logits:
        classes = CLASSES

        def logits(self, images: Any, /) -> Any:
            return Linear().logits(images)

    with pytest.raises(TypeError, match="Logits has no gradient; accepted are classifiers that have one"):
        fourier_mask(Logits(), labelled(4))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the images have no labels"):
        fourier_mask(Linear(), pictures(4), target="true")


def test_logits_that_are_no_numbers_name_the_image() -> None:
    class Broken(Linear):
        def logits(self, images: Any, /) -> Any:
            return np.where(images[:, 0, 0, :1] == 0.5, np.nan, super().logits(images))

    pixels = pictures(9)
    pixels[5, 0, 0, 0] = 0.5
    with pytest.raises(InvalidNumbers, match="the logits of image 5 are NaN or infinite"):
        fourier_mask(Broken(), pixels)


def test_counts_that_no_images_have_are_refused() -> None:
    content = fourier_mask(Linear(), labelled(5), max_epochs=1).to_dict()
    with pytest.raises(ValueError, match="accepted are 0 <= count <= images"):
        FourierMask.from_dict({**content, "agreeing": 6})
    with pytest.raises(ValueError, match="2 of 1 held-out images agree, and"):
        FourierMask.from_dict({**content, "held_out": 1, "held_out_agreeing": 2})


def test_it_is_public() -> None:
    assert specprobe.fourier_mask is fourier_mask
