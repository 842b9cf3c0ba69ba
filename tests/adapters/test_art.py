"""ART's attacks on a network in a file."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from specprobe.adapters import art_classifier
from specprobe.analysis.finite_differences import losses_of_logits
from specprobe.errors import InputMismatch
from specprobe.runtime.network import Network

EPSILON = 0.1
ROUNDING = 1e-6


def accuracy(network: Network, images: Any, labels: Any) -> float:
    return float(np.mean(network.logits(images).argmax(axis=1) == labels))


def is_inside(adversarial: Any, images: Any) -> bool:
    """Whether in the ball and in the box."""
    near = np.abs(adversarial - images).max() <= EPSILON + ROUNDING
    return bool(near and adversarial.min() >= 0 and adversarial.max() <= 1)


def fgsm(art: ModuleType, network: Network) -> Any:
    return art.FastGradientMethod(art_classifier(network), eps=EPSILON)


def pgd(art: ModuleType, network: Network) -> Any:
    settings = {"eps": EPSILON, "eps_step": EPSILON / 8, "max_iter": 10, "verbose": False}
    return art.ProjectedGradientDescent(art_classifier(network), **settings)


def apgd_dlr(art: ModuleType, network: Network) -> Any:
    settings = {
        "eps": EPSILON,
        "eps_step": 2 * EPSILON,
        "max_iter": 10,
        "nb_random_init": 1,
        "verbose": False,
    }
    return art.AutoProjectedGradientDescent(art_classifier(network, loss="dlr"), **settings)


def square(art: ModuleType, network: Network) -> Any:
    return art.SquareAttack(art_classifier(network), eps=EPSILON, max_iter=100, verbose=False)


ATTACKS = ((fgsm, 0.3), (pgd, 0.1), (apgd_dlr, 0.1), (square, 0.6))
"""With an accuracy that each stays below on these images, by a wide margin."""


@pytest.mark.parametrize(("attack", "below"), ATTACKS)
@pytest.mark.usefixtures("seeded")
def test_attacks_find_adversarial_images_in_the_ball(
    attack: Callable[..., Any], below: float, art: ModuleType, network: Network, images: Any, labels: Any
) -> None:
    adversarial = attack(art, network).generate(images.copy(), labels)
    assert accuracy(network, images, labels) == 1
    assert is_inside(adversarial, images)
    assert accuracy(network, adversarial, labels) < below


@pytest.mark.usefixtures("seeded")
def test_a_targeted_attack_goes_towards_its_targets(
    art: ModuleType, network: Network, images: Any, labels: Any
) -> None:
    targets = (labels + 1) % 10
    settings = {"eps": EPSILON, "eps_step": EPSILON / 8, "max_iter": 10, "targeted": True, "verbose": False}
    adversarial = art.ProjectedGradientDescent(art_classifier(network), **settings).generate(images, targets)
    assert is_inside(adversarial, images)
    assert accuracy(network, images, targets) == 0
    assert accuracy(network, adversarial, targets) > 0.3


@pytest.mark.usefixtures("art")
def test_predictions_are_the_logits(network: Network, images: Any) -> None:
    classifier = art_classifier(network)
    np.testing.assert_array_equal(classifier.predict(images), network.logits(images))
    np.testing.assert_allclose(classifier.predict(images, batch_size=7), network.logits(images), atol=1e-5)
    assert classifier.predict(images[:0]).shape == (0, 10)


@pytest.mark.usefixtures("art")
def test_answers_may_be_written_into(network: Network, images: Any, labels: Any) -> None:
    classifier = art_classifier(network)
    for answer in (
        classifier.predict(images),
        classifier.loss_gradient(images, labels),
        classifier.class_gradient(images, 3),
    ):
        assert answer.flags.writeable


@pytest.mark.parametrize("loss", ["cross-entropy", "margin", "dlr"])
@pytest.mark.usefixtures("art")
def test_gradients_and_losses_are_those_of_the_network(
    loss: str, network: Network, images: Any, labels: Any
) -> None:
    classifier = art_classifier(network, loss=loss, batch_size=10)
    losses, gradient = network.gradient(images, labels, loss=loss)
    np.testing.assert_allclose(classifier.loss_gradient(images, labels), gradient, rtol=1e-4, atol=1e-6)
    made = classifier.compute_loss(images, labels)
    np.testing.assert_allclose(made, losses, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made, losses_of_logits(network.logits(images), labels, loss=loss), rtol=1e-4)
    assert classifier.compute_loss(images, labels, reduction="mean") == pytest.approx(made.mean())
    assert classifier.compute_loss(images, labels, reduction="sum") == pytest.approx(made.sum())


@pytest.mark.usefixtures("art")
def test_class_gradients_are_those_of_the_logits(network: Network, images: Any, labels: Any) -> None:
    classifier = art_classifier(network, batch_size=10)
    every = classifier.class_gradient(images)
    assert every.shape == (len(images), 10, 1, 16, 16)
    for k in range(10):
        cotangent = np.zeros((len(images), 10), np.float32)
        cotangent[:, k] = 1
        np.testing.assert_allclose(every[:, k], network.vjp(images, cotangent), rtol=1e-4, atol=1e-5)
    rows = np.arange(len(images))
    np.testing.assert_allclose(classifier.class_gradient(images, label=3), every[:, [3]], atol=1e-5)
    for form in (labels, list(labels)):
        own = classifier.class_gradient(images, label=form)
        np.testing.assert_allclose(own, every[rows, labels][:, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y[:, None],
        lambda y: y.astype(np.float64),
        lambda y: np.eye(10)[y],
        lambda y: np.eye(10, dtype=np.uint8)[y],
        lambda y: np.eye(10)[y] / 3,
        list,
    ],
    ids=["column", "floating", "one-hot", "uint8", "scaled", "list"],
)
@pytest.mark.usefixtures("art")
def test_labels_come_in_any_form(
    form: Callable[[Any], Any], network: Network, images: Any, labels: Any
) -> None:
    classifier = art_classifier(network)
    expected = classifier.loss_gradient(images, labels)
    np.testing.assert_array_equal(classifier.loss_gradient(images, form(labels)), expected)


@pytest.mark.usefixtures("art")
def test_equal_largest_entries_count_as_the_first_class(network: Network, images: Any) -> None:
    """ART makes such labels of predictions that are equal."""
    classifier, labels = art_classifier(network), np.zeros((1, 10))
    labels[0, [2, 5]] = 0.5
    expected = classifier.loss_gradient(images[:1], np.array([2]))
    np.testing.assert_array_equal(classifier.loss_gradient(images[:1], labels), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((2, 10), np.linspace(0, 1, 10)), "labels are rows of several weights; accepted are one-hot"),
        (np.zeros((2, 10)), "labels are rows of several weights"),
        (
            np.eye(7)[:2],
            r"labels have shape \(2, 7\); accepted are 2 class indices, or one-hot rows of shape \(2, 10\)",
        ),
        (np.array([1]), r"labels have shape \(1,\)"),
        (np.array([1, 10]), "label 10 is no class; accepted are 0 to 9"),
        (np.array([-1, 0]), "label -1 is no class"),
        (np.array([0.5, 0]), r"label 0\.5 is no class"),
        (np.array([np.nan, 0]), "label nan is no class"),
    ],
)
@pytest.mark.usefixtures("art")
def test_other_labels_are_refused(labels: Any, message: str, network: Network, images: Any) -> None:
    classifier = art_classifier(network)
    for ask in (classifier.loss_gradient, classifier.compute_loss):
        with pytest.raises(InputMismatch, match=message):
            ask(images[:2], labels)


def test_defences_of_art_are_applied(art: ModuleType, network: Network, images: Any, labels: Any) -> None:
    import art.defences.preprocessor as defences

    classifier = art_classifier(network)
    squeezing = defences.FeatureSqueezing(clip_values=(0, 1), bit_depth=1)
    classifier.set_params(preprocessing_defences=squeezing)
    squeezed = np.round(images)
    np.testing.assert_array_equal(classifier.predict(images), network.logits(squeezed))
    expected = network.gradient(squeezed, labels)[1]
    np.testing.assert_allclose(classifier.loss_gradient(images, labels), expected, rtol=1e-4, atol=1e-6)
    cotangent = np.eye(10, dtype=np.float32)[labels]
    made = classifier.class_gradient(images, label=labels)[:, 0]
    np.testing.assert_allclose(made, network.vjp(squeezed, cotangent), rtol=1e-4, atol=1e-5)
    losses = losses_of_logits(network.logits(squeezed), labels, loss="cross-entropy")
    np.testing.assert_allclose(classifier.compute_loss(images, labels), losses, rtol=1e-4)
    assert not np.allclose(network.logits(images), network.logits(squeezed))


@pytest.mark.usefixtures("art")
def test_the_classifier_describes_itself(network: Network) -> None:
    classifier = art_classifier(network)
    assert classifier.model is network
    assert (classifier.input_shape, classifier.nb_classes, classifier.channels_first) == (
        (1, 16, 16),
        10,
        True,
    )
    assert tuple(classifier.clip_values) == (0, 1)
    assert classifier.layer_names is None


@pytest.mark.parametrize("loss", ["logit", "targeted-dlr", "hinge"])
def test_losses_that_no_attack_can_climb_are_refused(loss: str, network: Network) -> None:
    with pytest.raises(InputMismatch, match=f"loss is '{loss}'.*accepted are cross-entropy, margin, dlr"):
        art_classifier(network, loss=loss)


def test_a_single_class_is_refused() -> None:
    one: Any = SimpleNamespace(classes=1, path=Path("one.onnx"))
    with pytest.raises(
        InputMismatch, match=r"one\.onnx has 1 output; ART needs a logit for each of two classes"
    ):
        art_classifier(one)


@pytest.mark.usefixtures("art")
def test_what_a_file_cannot_do_is_refused(network: Network, images: Any, labels: Any) -> None:
    classifier = art_classifier(network)
    with pytest.raises(NotImplementedError, match=r"normal\.onnx is not trained through ART"):
        classifier.fit(images, labels)
    with pytest.raises(NotImplementedError, match=r"load\(\.\.\., output_name='relu'\)"):
        classifier.get_activations(images, "relu", 1)
    with pytest.raises(NotImplementedError, match=r"the model is a file already: copy .*normal\.onnx"):
        classifier.save("copy")
    with pytest.raises(InputMismatch, match="reduction is 'max'; accepted are none, mean, sum"):
        classifier.compute_loss(images, labels, reduction="max")
