"""Differential privacy of records and of clients: integer noise and shares of it, one-call releases, accounting, plans.

Spec: dp (v1).
"""

from .accounting import (
    MAX_EPSILON,
    MIN_DELTA,
    delta_pld,
    epsilon_pld,
    epsilon_rdp,
    group_epsilon,
)
from .budget import calibrate, gate
from .events import PrivacyEvent
from .mechanism import Mechanism, MechanismRecord
from .noise import MAX_DIM, DiscreteGaussian, Noise
from .planning import Mode, PrivacyPlan
from .release import GradientSum, PoissonSample, poisson_sample, privatize
from .shares import NoisyShare, privatize_share, privatize_update
from .skellam import Skellam, skellam_epsilon_rdp
from .tradeoff import PrivacyProfile, RocBound, profile, roc_bound

__all__ = [
    "MAX_DIM",
    "MAX_EPSILON",
    "MIN_DELTA",
    "DiscreteGaussian",
    "GradientSum",
    "Mechanism",
    "MechanismRecord",
    "Mode",
    "Noise",
    "NoisyShare",
    "PoissonSample",
    "PrivacyEvent",
    "PrivacyPlan",
    "PrivacyProfile",
    "RocBound",
    "Skellam",
    "calibrate",
    "delta_pld",
    "epsilon_pld",
    "epsilon_rdp",
    "gate",
    "group_epsilon",
    "poisson_sample",
    "privatize",
    "privatize_share",
    "privatize_update",
    "profile",
    "roc_bound",
    "skellam_epsilon_rdp",
]
