"""Record-level differential privacy: integer noise, one-call releases, accounting.

Spec: dp (v1).
"""

from .accounting import (
    MAX_EPSILON,
    MIN_DELTA,
    calibrate,
    delta_pld,
    epsilon_pld,
    epsilon_rdp,
    gate,
    group_epsilon,
)
from .events import PrivacyEvent
from .noise import MAX_DIM, DiscreteGaussian, Noise
from .release import GradientSum, Mechanism, MechanismRecord, PoissonSample, poisson_sample, privatize
from .tradeoff import PrivacyProfile, RocBound, profile, roc_bound

__all__ = [
    "MAX_DIM",
    "MAX_EPSILON",
    "MIN_DELTA",
    "DiscreteGaussian",
    "GradientSum",
    "Mechanism",
    "MechanismRecord",
    "Noise",
    "PoissonSample",
    "PrivacyEvent",
    "PrivacyProfile",
    "RocBound",
    "calibrate",
    "delta_pld",
    "epsilon_pld",
    "epsilon_rdp",
    "gate",
    "group_epsilon",
    "poisson_sample",
    "privatize",
    "profile",
    "roc_bound",
]
