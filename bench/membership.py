"""Was this record in the training set? Likelihood-ratio attacks against models trained with and without protection.

LiRA: Carlini, Chien, Nasr, Song, Terzis, Tramer, "Membership inference attacks from first principles" (2022), the
online form: shadow models are trained on random halves of the candidate records, and the target model's confidence in
a record is compared with that of models that had it and of models that had not. Every model is once the target, and
all others are its shadows.

The insider is the attacker that the guarantee is made against: it knows every other record and sees every opened sum,
and computes the exact likelihood ratio.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.dp import DiscreteGaussian, Mechanism, PrivacyEvent, calibrate, poisson_sample, privatize

__all__ = [
    "Rate",
    "Runs",
    "Setting",
    "events_of",
    "gradients",
    "insider_scores",
    "lira_scores",
    "rate_at",
    "roc",
    "train",
]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CLASSES = 10
CLIP_UNITS = 1 << 14
FULL = 1_000_000


@dataclass(frozen=True, slots=True)
class Setting:
    """How the models are trained: each on about half of the candidates, all of them in every round."""

    candidates: int = 60
    models: int = 256
    rounds: int = 40
    learning_rate: float = 0.3
    momentum: float = 0.5
    delta: float = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Trained models, and who was in which.

    Shapes: member bool[models, candidates]; confidence float64[models, candidates], the logit of the true class;
    evidence the same, the insider's log-likelihood ratio (None without noise: then one look is certain).
    Units: accuracies are those of the mean model, on its own records and on held-out ones.
    """

    member: Bools
    confidence: Floats
    evidence: Floats | None
    train_accuracy: float
    held_out_accuracy: float


@dataclass(frozen=True, slots=True)
class Rate:
    """A true-positive rate with a 95 % interval, and its standard error, from resampling whole models."""

    rate: float
    low: float
    high: float
    error: float


def events_of(setting: Setting, epsilon: float) -> tuple[PrivacyEvent, ...]:
    """The whole run's charge: noise for this epsilon over all rounds."""
    milli = calibrate(epsilon=epsilon, delta=setting.delta, sampling_rate_ppm=FULL, steps=setting.rounds)
    return (PrivacyEvent(milli, FULL, setting.rounds),)


def _probabilities(weights: Floats, features: Floats) -> Floats:
    """Shapes: weights [models, classes, p], features [n, p]; result [models, n, classes]."""
    scores = np.einsum("kcp,np->knc", weights, features)
    scores = np.exp(scores - scores.max(axis=2, keepdims=True))
    result: Floats = scores / scores.sum(axis=2, keepdims=True)
    return result


def gradients(weights: Floats, features: Floats, labels: Labels) -> Floats:
    """Each record's gradient of the cross-entropy of one softmax layer.

    Shapes: weights [classes, p], features [n, p] (the last column is 1, for the bias); result [n, classes * p].
    """
    error = _probabilities(weights[np.newaxis], features)[0] - np.eye(CLASSES)[labels]
    result: Floats = np.einsum("nc,np->ncp", error, features).reshape(len(labels), -1)
    return result


def train(
    setting: Setting,
    features: Floats,
    labels: Labels,
    held_out: tuple[Floats, Labels],
    *,
    epsilon: float | None,
    rand: Callable[[int], bytes],
) -> Runs:
    """Train all models, without protection or through the product's own mechanism.

    Shapes: features float64[candidates, pixels], labels int64[candidates].
    """
    coins = np.frombuffer(rand(setting.models * setting.candidates), dtype=np.uint8) & 1
    member = coins.reshape(setting.models, setting.candidates).astype(bool)
    rows = np.hstack([features, np.ones((len(features), 1))])
    weights = np.zeros((setting.models, CLASSES, rows.shape[1]))
    evidence = None
    if epsilon is None:
        _plain(setting, weights, rows, labels, member)
    else:
        noise_milli = events_of(setting, epsilon)[0].noise_multiplier_milli
        mechanism = Mechanism(CLIP_UNITS, 1_000_000, noise_milli, FULL)
        law = DiscreteGaussian(mechanism.noise_variance_units)
        evidence = np.stack(
            [
                _private(setting, model, rows, labels, chosen, mechanism, law, rand)
                for model, chosen in zip(weights, member, strict=True)
            ]
        )
    chances = _probabilities(weights, rows)
    right = chances[:, np.arange(len(labels)), labels]
    rest = np.where(np.eye(CLASSES, dtype=bool)[labels], 0.0, chances).sum(axis=2)
    tiny = np.finfo(np.float64).tiny
    confidence = np.log(np.maximum(right, tiny)) - np.log(np.maximum(rest, tiny))
    own = float((chances.argmax(axis=2) == labels)[member].mean())
    outside = np.hstack([held_out[0], np.ones((len(held_out[0]), 1))])
    others = float((_probabilities(weights, outside).argmax(axis=2) == held_out[1]).mean())
    return Runs(member, confidence, evidence, own, others)


def _plain(setting: Setting, weights: Floats, rows: Floats, labels: Labels, member: Bools) -> None:
    """Gradient descent on all models at once, in place: no clipping, no noise."""
    before = weights.copy()
    for _ in range(setting.rounds):
        error = (_probabilities(weights, rows) - np.eye(CLASSES)[labels]) * member[:, :, np.newaxis]
        mean = np.einsum("knc,np->kcp", error, rows) / (setting.candidates / 2)
        step = setting.momentum * (weights - before) - setting.learning_rate * mean
        before = weights.copy()
        weights += step


def _private(
    setting: Setting,
    weights: Floats,
    rows: Floats,
    labels: Labels,
    chosen: Bools,
    mechanism: Mechanism,
    law: DiscreteGaussian,
    rand: Callable[[int], bytes],
) -> Floats:
    """Train one model in place through `privatize`; what an insider learns about each candidate. Shapes: [candidates].

    An insider subtracts what it knows, all other records, and compares the rest with the candidate's own part v: the
    log-likelihood ratio of "in" to "out" under Gaussian noise S is (<v, rest> - |v|^2 / 2) / S^2.
    """
    before = weights.copy()
    evidence = np.zeros(len(rows))
    for _ in range(setting.rounds):
        noise = law.sample(weights.size, rand(32))
        sample = poisson_sample(int(chosen.sum()), mechanism, rand=rand(32))
        each = gradients(weights, rows, labels)
        released, _ = privatize(each[chosen], sample, mechanism, noise)
        norm = np.linalg.norm(each, axis=1, keepdims=True)
        parts = np.trunc(each * np.minimum(CLIP_UNITS / np.maximum(norm, 1e-300), CLIP_UNITS))
        rest = released.values - parts[chosen].sum(axis=0)
        square = np.square(parts).sum(axis=1)
        evidence += (parts @ rest + square * chosen - square / 2) / float(mechanism.noise_variance_units)
        mean = released.to_gradient(setting.candidates // 2).reshape(weights.shape)
        step = setting.momentum * (weights - before) - setting.learning_rate * mean
        before = weights.copy()
        weights += step
    return evidence


def lira_scores(runs: Runs) -> Floats:
    """Log-likelihood ratio of "in" to "out", each a Gaussian fitted to the other models. Shapes: as `confidence`."""
    score = np.zeros_like(runs.confidence)
    for mask, sign in ((runs.member, 1.0), (~runs.member, -1.0)):
        count = mask.sum(axis=0) - mask
        seen = np.where(mask, runs.confidence, 0.0)
        mean = (seen.sum(axis=0) - seen) / count
        # The spread is that of the other models too: leave the target's own value out of both sums.
        square = (np.square(seen).sum(axis=0) - np.square(seen)) / count
        variance = np.maximum(square - np.square(mean), 1e-6)
        score += sign * (-np.square(runs.confidence - mean) / (2 * variance) - np.log(variance) / 2)
    return score


def insider_scores(runs: Runs) -> Floats:
    """The exact log-likelihood ratio of an attacker who knows all other records. Shapes: [models, candidates].

    Raises:
        ValueError: the runs had no noise.
    """
    if runs.evidence is None:
        raise ValueError("without noise an insider needs no statistics")
    return runs.evidence


def roc(scores: Floats, member: Bools, rates: tuple[float, ...]) -> tuple[float, ...]:
    """True-positive rates with at most these false-positive rates, one threshold for all models and records."""
    outs = np.sort(scores[~member])[::-1]
    ins = np.sort(scores[member])
    found = []
    for rate in rates:
        allowed = int(rate * len(outs))
        threshold = outs[allowed] if allowed < len(outs) else -np.inf
        found.append(1 - int(np.searchsorted(ins, threshold, side="right")) / len(ins))
    return tuple(found)


def rate_at(scores: Floats, member: Bools, rate: float, *, seed: int, resamples: int = 400) -> Rate:
    """The true-positive rate at one false-positive rate, and its sampling error: models are redrawn."""
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(scores), size=len(scores)) for _ in range(resamples))
    values = np.array([roc(scores[index], member[index], (rate,))[0] for index in drawn])
    low, high = np.quantile(values, (0.025, 0.975))
    return Rate(roc(scores, member, (rate,))[0], float(low), float(high), float(values.std()))
