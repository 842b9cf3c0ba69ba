"""Whether the masks of images tell the classes apart: a linear probe."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import InputMismatch, InvalidNumbers
from specprobe.intervals import CONFIDENCE, check_confidence, wilson_interval
from specprobe.randomness import generator
from specprobe.spectral.grid import real_frequencies

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MaskProbe", "mask_probe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskProbe:
    """How well a linear model tells the class of an image from its mask.

    Attributes
    ----------
    train_images, train_correct, test_images, test_correct : int
        Learned from, and held out; images whose class is told right.
    test_chance : float
        Share of the most frequent class among those held out.
    classes : int
        That occur.
    scrambled_train_accuracy, scrambled_test_accuracy : tuple of float
        After as many random permutations of the classes over the images.
    l2_penalty : float
        Of the weights.
    seed : int
        Of the split and of the permutations.
    confidence : float
        Of the interval.
    """

    train_images: int
    train_correct: int
    test_images: int
    test_correct: int
    test_chance: float
    classes: int
    scrambled_train_accuracy: tuple[float, ...]
    scrambled_test_accuracy: tuple[float, ...]
    l2_penalty: float
    seed: int
    confidence: float = CONFIDENCE

    @property
    def train_accuracy(self) -> float:
        """Share of the images learned from that are told right."""
        return self.train_correct / self.train_images

    @property
    def test_accuracy(self) -> float:
        """Share of the images held out that are told right."""
        return self.test_correct / self.test_images

    @property
    def test_accuracy_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``test_accuracy``, for the one probe that was learned."""
        return wilson_interval(self.test_correct, self.test_images, confidence=self.confidence)

    @property
    def p_value(self) -> float | None:
        """Share of scrambled probes that do as well on the images held out, this one counted; None without any."""
        scrambled = self.scrambled_test_accuracy
        if not scrambled:
            return None
        return (1 + sum(x >= self.test_accuracy for x in scrambled)) / (1 + len(scrambled))

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values.

        Returns
        -------
        dict
            With accuracies, the interval and the p-value.
        """
        names = ("train_accuracy", "test_accuracy", "test_accuracy_interval", "p_value")
        content: dict[str, Any] = {name: getattr(self, name) for name in (*names, *self.__slots__)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}


def mask_probe(
    masks: "NDArray[np.floating[Any]]",
    classes: "ArrayLike",
    /,
    *,
    test_share: float = 0.15,
    l2_penalty: float = 5e-3,
    scrambles: int = 19,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> MaskProbe:
    """Learn to tell the class of an image from its mask, linearly.

    Parameters
    ----------
    masks : numpy.ndarray, shape (N, H, W) or (N, C, H, W)
        One an image, such as ``FourierMask.mask`` with ``per_image``; equal at k and -k.
    classes : array_like of int, shape (N,)
        Of the images, such as ``FourierMask.image_class``. Classes of a single image are left out.
    test_share : float
        Share of each class that is held out, at least one image; in (0, 1).
    l2_penalty : float
        λ of the objective ``mean cross-entropy + λ/2 · ‖weights‖²``; offsets are free.
    scrambles : int
        Probes of permuted classes, for comparison.
    seed : int
        Of the split and of the permutations.
    confidence : float
        Of the interval.

    Returns
    -------
    MaskProbe
        Of the same data and settings the same numbers.

    Raises
    ------
    InputMismatch
        If the shapes do not fit, or fewer than two classes have two images.
    InvalidNumbers
        If a value of a mask is NaN or infinite.
    ValueError
        If a setting is out of range.

    Notes
    -----
    Multinomial logistic regression, by L-BFGS on a convex objective, so that nothing depends on a learning rate. In [1]_
    the same model is learned by 20 epochs of Adam with a weight decay of 5e-3 and 15 % of the masks held out. A mask has
    many more numbers than there are masks: the accuracy on those learned from says nothing.

    References
    ----------
    .. [1] N. Karantzas, E. Besier, J. Ortega Caro, X. Pitkow, A. S. Tolias, A. B. Patel, F. Anselmi, Understanding
       robustness and generalization of artificial neural networks through Fourier masks, Frontiers in Artificial
       Intelligence 5 (2022), 890016. arXiv:2203.08822
    """
    check_confidence(confidence)
    if not 0 < test_share < 1:
        msg = f"test_share is {test_share}; accepted are numbers between 0 and 1, such as 0.15"
        raise ValueError(msg)
    if not 0 < l2_penalty < np.inf or scrambles < 0:
        msg = f"l2_penalty is {l2_penalty} and scrambles {scrambles}; accepted are a number above 0 and counts from 0"
        raise ValueError(msg)
    features, wanted, names = _checked(masks, np.asarray(classes))
    held_out = _split(wanted, test_share, seed)
    learn, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    features = _turned(features - features[learn].mean(axis=0), learn)
    train_correct, test_correct = _probe(features, wanted, learn, test, len(names), l2_penalty)
    scrambled = []
    for i in range(scrambles):
        permuted = generator(seed, "mask/probe-scramble", i).permutation(wanted)
        scrambled.append(_probe(features, permuted, learn, test, len(names), l2_penalty))
    return MaskProbe(
        train_images=len(learn),
        train_correct=train_correct,
        test_images=len(test),
        test_correct=test_correct,
        test_chance=float(np.bincount(wanted[test]).max() / len(test)),
        classes=len(names),
        scrambled_train_accuracy=tuple(right / len(learn) for right, _ in scrambled),
        scrambled_test_accuracy=tuple(right / len(test) for _, right in scrambled),
        l2_penalty=float(l2_penalty),
        seed=seed,
        confidence=confidence,
    )


def _checked(
    masks: "NDArray[np.floating[Any]]", classes: "NDArray[Any]"
) -> "tuple[NDArray[np.float64], NDArray[np.int64], NDArray[Any]]":
    """Free values of the masks, classes from 0, and their names."""
    if masks.ndim not in {3, 4} or classes.shape != masks.shape[:1]:
        msg = f"masks have shape {masks.shape}, classes {classes.shape}; accepted are (N, H, W) or (N, C, H, W), and (N,)"
        raise InputMismatch(msg)
    names, index, counts = np.unique(classes, return_inverse=True, return_counts=True)
    kept = counts[index] >= 2
    if (counts >= 2).sum() < 2:
        msg = f"{int((counts >= 2).sum())} classes have two masks or more; accepted are two classes or more"
        raise InputMismatch(msg)
    names, wanted = np.unique(classes[kept], return_inverse=True)
    height, width = masks.shape[-2:]
    f_y, f_x = real_frequencies((height, width)).T
    free = masks[kept][..., f_y + height // 2, f_x + width // 2].astype(np.float64)
    if not np.isfinite(free).all():
        msg = "a mask holds NaN or infinite values; accepted are numbers"
        raise InvalidNumbers(msg)
    return free.reshape(len(wanted), -1), wanted.astype(np.int64), names


def _split(classes: "NDArray[np.int64]", share: float, seed: int) -> "NDArray[np.bool_]":
    """Which are held out: of each class the same share, at least one, and never all."""
    held_out = np.zeros(len(classes), np.bool_)
    random = generator(seed, "mask/probe-split")
    for name in np.unique(classes):
        own = np.flatnonzero(classes == name)
        count = min(max(1, int(share * len(own) + 0.5)), len(own) - 1)
        held_out[random.permutation(own)[:count]] = True
    return held_out


def _turned(features: "NDArray[np.float64]", learn: "NDArray[np.int64]") -> "NDArray[np.float64]":
    """Coordinates in the span of the masks learned from: penalised weights have no part outside it."""
    if features.shape[1] <= len(learn):
        return features
    _, _, basis = np.linalg.svd(features[learn], full_matrices=False)
    turned: NDArray[np.float64] = features @ basis.T
    return turned


def _probe(
    features: "NDArray[np.float64]",
    classes: "NDArray[np.int64]",
    learn: "NDArray[np.int64]",
    test: "NDArray[np.int64]",
    count: int,
    penalty: float,
) -> tuple[int, int]:
    """Images told right, of those learned from and of those held out."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    x, y = features[learn], classes[learn]
    rows = np.arange(len(y))
    one_hot = np.zeros((len(y), count))
    one_hot[rows, y] = 1

    def objective(flat: "NDArray[np.float64]") -> "tuple[float, NDArray[np.float64]]":
        weights, offsets = flat[:-count].reshape(-1, count), flat[-count:]
        log_p = log_softmax(x @ weights + offsets, axis=1)
        error = (np.exp(log_p) - one_hot) / len(y)
        value = -log_p[rows, y].mean() + penalty / 2 * float((weights**2).sum())
        return value, np.concatenate([(x.T @ error + penalty * weights).ravel(), error.sum(axis=0)])

    start = np.zeros((features.shape[1] + 1) * count)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-5}).x
    told = (features @ found[:-count].reshape(-1, count) + found[-count:]).argmax(axis=1)
    right = told == classes
    return int(right[learn].sum()), int(right[test].sum())
