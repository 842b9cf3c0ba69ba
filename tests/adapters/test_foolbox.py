"""Foolbox's attacks on a network in a file."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from specprobe.adapters import foolbox_model
from specprobe.errors import InputMismatch
from specprobe.runtime.network import Network

ROUNDING = 1e-6


def accuracy(network: Network, images: Any, labels: Any) -> float:
    return float(np.mean(network.logits(images).argmax(axis=1) == labels))


def is_inside(adversarial: Any, images: Any, norms: Any, epsilon: float) -> bool:
    """Whether in the ball and in the box."""
    near = norms(adversarial - images).max() <= epsilon * (1 + ROUNDING)
    return bool(near and adversarial.min() >= 0 and adversarial.max() <= 1)


def linf(differences: Any) -> Any:
    return np.abs(differences).max(axis=(1, 2, 3))


def l2(differences: Any) -> Any:
    return np.sqrt(np.square(differences.astype(np.float64)).sum(axis=(1, 2, 3)))


def pgd(attacks: ModuleType) -> Any:
    return attacks.LinfPGD(steps=10, rel_stepsize=0.25)


def fmn(attacks: ModuleType) -> Any:
    return attacks.LInfFMNAttack(steps=10)


def l2_pgd(attacks: ModuleType) -> Any:
    return attacks.L2PGD(steps=10, rel_stepsize=0.25)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("attack", "norms", "epsilon"), [(pgd, linf, 0.1), (fmn, linf, 0.1), (l2_pgd, l2, 1.0)]
)
def test_gradient_attacks_find_adversarial_tensors(
    attack: Callable[..., Any],
    norms: Callable[[Any], Any],
    epsilon: float,
    foolbox: ModuleType,
    torch: ModuleType,
    network: Network,
    images: Any,
    labels: Any,
) -> None:
    torch.manual_seed(0)
    model, x, y = foolbox_model(network), torch.tensor(images), torch.tensor(labels)
    assert foolbox.accuracy(model, x, y) == 1
    _, clipped, fooled = attack(foolbox.attacks)(model, x, y, epsilons=epsilon)
    adversarial = clipped.numpy()
    assert is_inside(adversarial, images, norms, epsilon)
    assert accuracy(network, adversarial, labels) < 0.3
    np.testing.assert_array_equal(fooled.numpy(), network.logits(adversarial).argmax(axis=1) != labels)


@pytest.mark.usefixtures("seeded")
def test_a_decision_attack_finds_adversarial_arrays(
    foolbox: ModuleType, network: Network, images: Any, labels: Any
) -> None:
    epsilon, attacks = 0.2, foolbox.attacks
    start = attacks.LinearSearchBlendedUniformNoiseAttack(distance=foolbox.distances.linf)
    attack = attacks.HopSkipJumpAttack(
        start, steps=5, initial_gradient_eval_steps=50, max_gradient_eval_steps=100, constraint="linf"
    )
    model = foolbox_model(network)
    _, clipped, fooled = attack(model, images, labels, epsilons=epsilon)
    assert isinstance(clipped, np.ndarray)
    assert is_inside(clipped, images, linf, epsilon)
    assert accuracy(network, clipped, labels) < 0.3
    np.testing.assert_array_equal(fooled, network.logits(clipped).argmax(axis=1) != labels)
    _, noisy, _ = attacks.LinfAdditiveUniformNoiseAttack()(model, images, labels, epsilons=epsilon)
    assert accuracy(network, noisy, labels) > 0.8  # noise of that size alone does less


@pytest.mark.usefixtures("foolbox")
def test_answers_to_arrays_are_the_logits(network: Network, images: Any) -> None:
    logits = foolbox_model(network)(images)
    assert isinstance(logits, np.ndarray)
    np.testing.assert_array_equal(logits, network.logits(images))


@pytest.mark.usefixtures("foolbox")
def test_wrapped_tensors_come_back_wrapped(network: Network, images: Any) -> None:
    import eagerpy

    logits = foolbox_model(network)(eagerpy.astensor(images))
    assert isinstance(logits, eagerpy.NumPyTensor)
    np.testing.assert_array_equal(logits.raw, network.logits(images))


@pytest.mark.torch
@pytest.mark.usefixtures("foolbox")
def test_gradients_through_eagerpy_are_those_of_the_network(
    torch: ModuleType, network: Network, images: Any, labels: Any
) -> None:
    import eagerpy

    model, y = foolbox_model(network), eagerpy.astensor(torch.tensor(labels))
    x = eagerpy.astensor(torch.tensor(images))
    _, made = eagerpy.value_and_grad(lambda z: eagerpy.crossentropy(model(z), y).sum(), x)
    np.testing.assert_allclose(made.numpy(), network.gradient(images, labels)[1], rtol=1e-3, atol=1e-6)


def test_the_model_describes_itself(foolbox: ModuleType, network: Network) -> None:
    model = foolbox_model(network)
    assert isinstance(model, foolbox.Model)
    assert model.bounds == (0, 1)
    assert model.data_format == "channels_first"


def test_bounds_can_be_moved(foolbox: ModuleType, network: Network, images: Any) -> None:
    moved = foolbox_model(network).transform_bounds((0, 255))
    np.testing.assert_allclose(moved(images * np.float32(255)), network.logits(images), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("foolbox")
def test_tensors_of_other_libraries_are_refused(
    monkeypatch: pytest.MonkeyPatch, network: Network, images: Any
) -> None:
    import eagerpy

    class OtherTensor:
        pass

    monkeypatch.setattr(eagerpy, "astensor_", lambda _: (OtherTensor(), SimpleNamespace()))
    with pytest.raises(
        InputMismatch, match="images are OtherTensor; accepted are NumPy arrays and torch tensors"
    ):
        foolbox_model(network)(images)
