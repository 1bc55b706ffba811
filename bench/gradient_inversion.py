"""What an update gives away: the records it was computed from, drawn from gradients of a softmax layer.

The gradient of one record (x, y) is W' = (p - y) x^T and b' = p - y, so a row of W' over its entry of b' is x itself
(Phong et al. 2018; Zhu, Liu, Han, "Deep leakage from gradients", 2019, do the same for deep networks by optimisation).
The first model is zero: p is 1 / classes for everybody. Records are rows of mean 0 and one public length, so images are
compared after centring and scaling.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from protocols.dp import DiscreteGaussian, Mechanism, PrivacyPlan, poisson_sample, privatize_share
from secure_bfl.adapters.opacus import GradientEngine

__all__ = [
    "Federation",
    "Finding",
    "correlation",
    "gradients_at_zero",
    "invert_one",
    "match_one",
    "normalised",
    "psnr",
    "run",
    "sums_by_class",
]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

CLASSES = 10
CLIP_UNITS = 1 << 14
SHOWN = 8


@dataclass(frozen=True, slots=True, eq=False)
class Federation:
    """Who holds what, and images that everybody has.

    Shapes: features float64[n, pixels], labels int64[n], owner int64[n] (the client of each record); public and
    public_labels the same, of records that are in no update.
    """

    features: Floats
    labels: Labels
    owner: Labels
    public: Floats
    public_labels: Labels

    @property
    def clients(self) -> int:
        """Number of clients."""
        return int(self.owner.max()) + 1

    @property
    def targets(self) -> Labels:
        """One record of each client: those whose recovery is tried."""
        return np.unique(self.owner, return_index=True)[1].astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One attack: what it saw, who attacked, the images it found (one for each target), and how good they are.

    Units: correlation with the true image, mean and least, and with images of the same class that no client has: if
    the two are alike, the attack found the class and not the record; PSNR in dB; `picked` is the share of targets
    whose record is nearest to the image among all clients' records of its class.
    """

    key: str
    title: str
    images: Floats
    correlation: float
    least_correlation: float
    strangers: float
    psnr: float
    picked: float


def gradients_at_zero(features: Floats, labels: Labels) -> npt.NDArray[np.float32]:
    """The gradient of each record at the zero model, by the clients' own engine. Shapes: float32[n, dim]."""
    engine = GradientEngine(nn.Linear(features.shape[1], CLASSES))
    engine.load_flat(np.zeros(engine.dim))
    return engine.gradients(torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels.copy()))


def _parts(gradient: Floats) -> tuple[Floats, Floats]:
    pixels = gradient.size // CLASSES - 1
    return gradient[: CLASSES * pixels].reshape(CLASSES, pixels), gradient[CLASSES * pixels :]


def normalised(images: Floats) -> Floats:
    """Each image with mean 0 and length 1."""
    centred = images - images.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    result: Floats = centred / np.where(length > 0, length, 1.0)
    return result


def invert_one(gradient: Floats) -> Floats:
    """The record behind the gradient of one record: the row of its class over that row's bias."""
    weights, bias = _parts(gradient.astype(np.float64))
    row = int(np.argmin(bias))
    image: Floats = weights[row] / bias[row]
    return image


def match_one(gradient: Floats, label: int) -> Floats:
    """The least-squares record behind a noisy gradient of one record whose class is known. Shapes: float64[pixels]."""
    error = np.full(CLASSES, 1 / CLASSES)
    error[label] -= 1
    weights, _ = _parts(gradient)
    image: Floats = error @ weights
    return image


def sums_by_class(gradient: Floats, background: Floats | None = None) -> Floats:
    """The sum of the records of each class, from the gradient of many. Shapes: float64[classes, pixels].

    A row of the gradient is a tenth of the sum of all records, less the sum of its own class. The first part is the
    row of a class that nobody has (the largest bias), or `background`, an estimate of it.
    """
    weights, bias = _parts(gradient.astype(np.float64))
    result: Floats = (weights[int(np.argmax(bias))] if background is None else background) - weights
    return result


def correlation(found: Floats, true: Floats) -> Floats:
    """Pearson correlation of images. Shapes: [n, pixels] and [n, pixels] or [pixels] give [n]."""
    result: Floats = (normalised(found) * normalised(true)).sum(axis=-1)
    return result


def psnr(found: Floats, true: Floats) -> Floats:
    """Peak signal to noise ratio in dB, of normalised images; the peak is the range of the true one. At most 150."""
    wanted = normalised(true)
    error = np.square(normalised(found) - wanted).mean(axis=-1)
    result: Floats = 10 * np.log10(np.ptp(wanted, axis=-1) ** 2 / np.maximum(error, 1e-15))
    return np.minimum(result, 150.0)


def _finding(key: str, title: str, images: Floats, federation: Federation) -> Finding:
    targets = federation.targets
    true = federation.features[targets]
    found = normalised(images)
    picked, strange = 0, []
    for image, target in zip(found, targets, strict=True):
        rivals = np.flatnonzero(federation.labels == federation.labels[target])
        picked += int(rivals[np.argmax(correlation(federation.features[rivals], image))] == target)
        strangers = federation.public[federation.public_labels == federation.labels[target]]
        strange.append(float(correlation(strangers, image).mean()))
    alike = correlation(found, true)
    quality = float(psnr(found, true).mean())
    return Finding(
        key,
        title,
        found,
        float(alike.mean()),
        float(alike.min()),
        float(np.mean(strange)),
        quality,
        picked / len(targets),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Released:
    """What clients sent and what was opened, in units of the gradient, averaged over rounds.

    Shapes: clipped [n, dim] (each record's part, before noise), first and shares [clients, dim], total [dim].
    """

    clipped: Floats
    first: Floats
    shares: Floats
    total: Floats


def _release(federation: Federation, plan: PrivacyPlan, rand: Callable[[int], bytes]) -> _Released:
    """Play the rounds of the plan, all at the first model: then all of them tell of the same gradients."""
    gradients = gradients_at_zero(federation.features, federation.labels)
    dim = gradients.shape[1]
    mechanism = Mechanism(CLIP_UNITS, 1_000_000, plan.noise_multiplier_milli, 1_000_000, shares=plan.shares)
    law = DiscreteGaussian(mechanism.share_variance_units)
    wide = gradients.astype(np.float64)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    clipped = np.trunc(wide * np.minimum(CLIP_UNITS / norm, CLIP_UNITS)) / CLIP_UNITS
    shares = np.zeros((federation.clients, dim))
    first = shares.copy()
    for number in range(plan.rounds):
        for client in range(federation.clients):
            own = gradients[federation.owner == client]
            noise = law.sample(dim, rand(32))
            sample = poisson_sample(len(own), mechanism, rand=rand(32))
            sent, _ = privatize_share(own, sample, mechanism, noise, limit=CLIP_UNITS * len(own))
            shares[client] += sent.take() / CLIP_UNITS
        if number == 0:
            first = shares.copy()
    shares /= plan.rounds
    return _Released(clipped, first, shares, shares.sum(axis=0))


def run(federation: Federation, plan: PrivacyPlan, rand: Callable[[int], bytes]) -> tuple[Finding, ...]:
    """Every attack on every release, from the unprotected update of one record to protected sums and shares."""
    features, labels, targets = federation.features, federation.labels, federation.targets
    plain = gradients_at_zero(features, labels).astype(np.float64)
    released = _release(federation, plan, rand)
    background = features.shape[0] * federation.public.mean(axis=0) / CLASSES
    scale = float(np.linalg.norm(released.clipped[0]) / np.linalg.norm(plain[0]))  # equal for all, at the zero model

    def by_class(gradient: Floats, behind: Floats) -> Floats:
        return sums_by_class(gradient, behind)[labels[targets]]

    def left(whole: Floats, parts: Floats, members: npt.NDArray[np.bool_], target: int) -> Floats:
        """Subtract what the attacker knows: every record of `members` but the target."""
        known = members.copy()
        known[target] = False
        return match_one(whole - parts[known].sum(axis=0), int(labels[target]))

    def by_insider(whole: Floats, parts: Floats) -> Floats:
        return np.stack([left(whole, parts, np.ones(len(labels), bool), int(t)) for t in targets])

    def by_opener(shares: Floats) -> Floats:
        owner = federation.owner
        return np.stack([left(shares[owner[t]], released.clipped, owner == owner[t], int(t)) for t in targets])

    batches = [targets[start : start + SHOWN] for start in range(0, len(targets), SHOWN)]
    of_batches = np.concatenate([sums_by_class(plain[batch].sum(axis=0))[labels[batch]] for batch in batches])
    alone = np.stack([invert_one(plain[target]) for target in targets])
    whole, rounds, clients = plain.sum(axis=0), plan.rounds, federation.clients
    protected = f"protected sum of {clients} clients, ε = {plan.epsilon:g}"
    named: tuple[tuple[str, str, Floats], ...] = (
        ("one_record", "unprotected update of one record", alone),
        ("batch", f"unprotected update of {SHOWN} records", of_batches),
        ("sum", f"unprotected sum of {clients} clients", by_class(whole, background)),
        ("sum_knowing_others", "the same, all other records known", by_insider(whole, plain)),
        ("protected_sum", protected, by_class(released.total, scale * background)),
        (
            "protected_sum_knowing_others",
            "the same, all other records known",
            by_insider(released.total, released.clipped),
        ),
        ("protected_share", "one client's protected share, opened alone", by_opener(released.first)),
        ("protected_shares", f"the same in each of {rounds} rounds", by_opener(released.shares)),
    )
    return tuple(_finding(key, title, images, federation) for key, title, images in named)
