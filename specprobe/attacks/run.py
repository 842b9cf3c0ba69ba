"""Attack a classifier on many images: what stands, and what it took."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from specprobe.analysis.input_gradients import Target, checked_source
from specprobe.analysis.source import read
from specprobe.arrays import Array
from specprobe.attacks.catalogue import AttackFunction, Settings, members_of
from specprobe.attacks.flags import model_flags
from specprobe.attacks.outcome import AttackOutcome
from specprobe.attacks.shard import AttackShard, FrequencySearch
from specprobe.attacks.threat import Norm
from specprobe.attacks.universal_search import universal_frequencies
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.pipeline import Staged
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor

    from specprobe.attacks.threat import Threat
    from specprobe.attacks.universal_search import FrequencyCounts
    from specprobe.findings import Finding
    from specprobe.protocols import Classifier, ImageSource

__all__ = ["AttackOutcome", "attack"]


def attack(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    attack: str | AttackFunction = "standard",
    norm: Norm = "linf",
    epsilon: float | None = None,
    band: "str | tuple[float, float] | None" = None,
    threat: "Threat | None" = None,
    steps: int | None = None,
    step_size: float | None = None,
    early_stop: bool | None = None,
    restarts: int = 1,
    queries: int | None = None,
    frequency: tuple[int, int] | None = None,
    target: Target | None = None,
    seed: int = 0,
    batch_size: int = 32,
    limit: int | None = None,
    keep_images: bool = False,
    findings: "Iterable[Finding]" = (),
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> AttackOutcome:
    """Share of images that an attack cannot turn, and what its perturbations look like.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes. All attacks but ``square`` and ``universal`` need its gradient.
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
    attack : str or callable
        ``fgsm``, ``pgd``, ``apgd-ce``, ``apgd-dlr``, ``apgd-t``, ``fab-t``, ``deepfool``, ``square``, ``universal``, or
        ``standard``: apgd-ce, apgd-t, fab-t and square in turn, each on what those before it have left. Or a function of
        :class:`~specprobe.attacks.oracle.Oracle`, threat and streams that gives one candidate for every image.
    norm : {"linf", "l2", "l1"}
        Of a perturbation, over all pixels and channels.
    epsilon : float, optional
        The largest norm, in pixels of [0, 1]: 8/255 for ``linf``; to be given for other norms.
    band : str or (float, float), optional
        Frequencies that perturbations are confined to: ``"0:8"`` for ``0 <= rho < 8`` cycles per image, ``"dct:0.25"``
        for the lowest quarter of the DCT's rows and columns. A pair is ``low, high``.
    threat : Threat, optional
        Instead of ``norm``, ``epsilon`` and ``band``.
    steps : int, optional
        Iterations; the attack's own number if not given.
    step_size : float, optional
        Of ``pgd``.
    early_stop : bool, optional
        Of ``pgd``: whether an image that has fallen is left at that, as by default, or taken through all steps, as its
        perturbation's spectrum is best measured.
    restarts : int
        Each on the images that still stand.
    queries : int, optional
        Of ``square``: candidates that are classified for one image. Of ``universal``: frequencies that are tried on all
        images.
    frequency : (int, int), optional
        Of ``universal``: vertical and horizontal, in cycles per image; the one that turns the most images if not given.
    target : {"true", "predicted"}, optional
        Attack the images that are right, away from their labels; or all of them, away from the model's own answers.
        The labels where there are any.
    seed : int
        Of all random numbers; each image has streams of its own.
    batch_size : int
        Images run at once.
    limit : int, optional
        Only the first so many images.
    keep_images : bool
        Whether the outcome holds all images as attacked.
    findings : iterable of Finding
        What is known of the model, beside the classifier's own ``findings``: those on operators that mask gradients or
        draw random numbers become flags.
    confidence : float
        Of the intervals.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    AttackOutcome
        With flags on whether to trust it, the spectrum of the perturbations, and a few numbers and a digest per image.

    Raises
    ------
    DataError
        If labels are missing, or the classifier has no class for them.
    InvalidNumbers
        If logits are NaN or infinite; names the image.
    RuntimeError
        If an attack leaves the ball or the box of pixels, which is a bug in the attack.
    TypeError
        If the attack needs a gradient, and the classifier has none.
    ValueError
        If a setting is none of those accepted.

    Notes
    -----
    Whether an image has fallen is decided by a forward pass over all candidates that the attack has no part in, after a
    check that they lie in the ball and in [0, 1]. An attack that looks for the nearest adversarial image may end outside
    the ball: that is no success, and its distance is recorded.

    References
    ----------
    .. [1] F. Croce, M. Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
       attacks, ICML 2020. arXiv:2003.01690
    """
    check_confidence(confidence)
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    settings = Settings(
        steps=steps, step_size=step_size, early_stop=early_stop, queries=queries, frequency=frequency
    )
    banded = (band if threat is None else threat.band) is not None
    members, filled = members_of(
        attack, settings, restarts=restarts, banded=banded, classes=classifier.classes
    )
    source, count, target = checked_source(
        classifier,
        images,
        labels,
        target=target,
        limit=limit,
        differentiable=not callable(attack) and any(member.gradients for member in members),
    )
    chosen = _threat(norm, epsilon, band, source.image_shape) if threat is None else threat
    parts = shards(count, size=SHARD_IMAGES)
    shard: dict[str, Any] = {"target": target, "batch_size": batch_size, "confidence": confidence}
    searched = 0
    if attack == "universal" and frequency is None:
        tried = universal_frequencies(source.image_shape[1:], count=filled.queries or 1)
        search = FrequencySearch(classifier, chosen, tried, **shard)
        found: FrequencyCounts = map_reduce(
            Staged((partial(read, source), search)),
            parts,
            executor=executor,
            checkpoint=None if checkpoint is None else _before(checkpoint),
            progress=None if progress is None else lambda done: progress(done // 2),
        )
        searched = len(tried)
        members, _ = members_of(attack, Settings(frequency=found.best))
        filled = replace(filled, frequency=found.best, queries=searched)
    elif attack == "universal":
        filled = replace(filled, queries=None)
    known = {
        "attack": attack if isinstance(attack, str) else members[0].name,
        "members": tuple(member.name for member in members),
        "threat_norm": chosen.norm,
        "epsilon": float(chosen.epsilon),
        "band": chosen.band,
        "steps": filled.steps,
        "queries": filled.queries,
        "step_size": filled.step_size,
        "early_stop": filled.early_stop,
        "frequency": filled.frequency,
        "restarts": restarts,
        "minimal_norm": all(member.minimal_norm for member in members),
        "seed": seed,
        "target": target,
        "classes": classifier.classes,
        "model_flags": model_flags([*getattr(classifier, "findings", ()), *findings]),
        "confidence": confidence,
    }
    step = AttackShard(
        classifier, chosen, members, known, searched=searched, keep_images=keep_images, **shard
    )
    result: AttackOutcome = map_reduce(
        Staged((partial(read, source), step)),
        parts,
        executor=executor,
        checkpoint=checkpoint,
        progress=(
            progress if progress is None or not searched else lambda done: progress((count + done) // 2)
        ),
    )
    return result


def _threat(
    norm: Norm,
    epsilon: float | None,
    band: "str | tuple[float, float] | None",
    shape: tuple[int, int, int],
) -> "Threat":
    if epsilon is None and norm in {"l2", "l1"}:
        msg = f"epsilon has to be given for {norm}, in pixels of [0, 1]; 8/255 is what linf takes by default"
        raise ValueError(msg)
    given: Any = epsilon  # it may come from a file, whatever the annotation says
    if isinstance(given, str):
        msg = f"epsilon is the text {epsilon!r}; accepted are numbers, in pixels of [0, 1], such as 8 / 255"
        raise TypeError(msg)
    if norm == "linf" and epsilon is not None and epsilon > 1:
        msg = f"epsilon is {epsilon}, more than pixels of [0, 1] can change; {epsilon:g} of 255 grey levels are {epsilon:g} / 255"
        raise ValueError(msg)
    from specprobe.attacks.norms import threat_of

    if isinstance(band, tuple):
        band = ":".join(f"{float(edge)!r}" for edge in band)
    return threat_of(norm, 8 / 255 if epsilon is None else epsilon, band=band, shape=shape)


def _before(checkpoint: Checkpoint) -> Checkpoint:
    """Checkpoint of the search that comes before the attack."""
    path = checkpoint.path.with_name(f"{checkpoint.path.stem}-search{checkpoint.path.suffix}")
    return replace(checkpoint, path=path, fingerprint=f"{checkpoint.fingerprint}/search")
