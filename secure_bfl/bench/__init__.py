"""Measurements that a user can repeat: what the cryptography of one round, and the ledger, cost on this machine."""

from .crypto import bench_crypto
from .figures import CryptoFigures
from .ledger import bench_ledger
from .ledger_figures import LedgerFigures, LedgerSetting
from .parties import CryptoSetting

__all__ = ["CryptoFigures", "CryptoSetting", "LedgerFigures", "LedgerSetting", "bench_crypto", "bench_ledger"]
