"""Measurements that a user can repeat: what a round's cryptography, the ledger and privacy cost on this machine.

`bench_privacy` is in the module `privacy`: it loads torch, which the others do without.
"""

from .crypto import bench_crypto
from .figures import CryptoFigures
from .ledger import bench_ledger
from .ledger_figures import LedgerFigures, LedgerSetting
from .parties import CryptoSetting
from .privacy_figures import PrivacyFigures, PrivacySetting

__all__ = [
    "CryptoFigures",
    "CryptoSetting",
    "LedgerFigures",
    "LedgerSetting",
    "PrivacyFigures",
    "PrivacySetting",
    "bench_crypto",
    "bench_ledger",
]
