"""Measurements that a user can repeat: what the cryptography of one round costs on this machine."""

from .crypto import bench_crypto
from .figures import CryptoFigures
from .parties import CryptoSetting

__all__ = ["CryptoFigures", "CryptoSetting", "bench_crypto"]
