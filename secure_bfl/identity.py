"""A party's keys: made once at the edge, kept in its keystore, shown to the others as a roster entry."""

import os
from typing import Final, NoReturn

from ledger import SigningKey

from .errors import KeystoreError
from .keystore import Keystore
from .messages import Party, Role
from .sealing import SealingKey

__all__ = ["Identity", "Secrets"]

_SEED: Final = 32
_RETIRED: Final = "retired"
_NAMES: Final = {
    Role.OPERATOR: ("signing", "note"),
    Role.MEMBER: ("signing", "note", "sealing"),
    Role.CLIENT: ("signing",),
}


class Secrets:
    """Where a party's secrets live: a `Keystore`, or this, in memory, for tests and simulations."""

    def __init__(self) -> None:
        self._secrets: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        return self._secrets.get(name)

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret; an existing one is never replaced by another."""
        if self._secrets.setdefault(name, bytes(secret)) != secret:
            raise KeystoreError(f"{name!r} is already kept with another value")

    def discard(self, *names: str) -> None:
        """Forget secrets; those that are not there are forgotten already."""
        for name in names:
            self._secrets.pop(name, None)

    def __repr__(self) -> str:
        return "Secrets(<secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets cannot be pickled or copied")


class Identity:
    """One party's name, role and keys. A member that retired has no sealing key any more."""

    __slots__ = ("_note", "_sealing", "name", "role", "secrets", "signing")

    def __init__(self, name: str, role: Role, secrets: "Secrets | Keystore") -> None:
        self.name, self.role, self.secrets = name, role, secrets
        self.signing = SigningKey.from_seed(self._seed("signing"))
        self._note = SigningKey.from_seed(self._seed("note")) if "note" in _NAMES[role] else None
        sealed_to = "sealing" in _NAMES[role] and not self.retired
        self._sealing = SealingKey.from_seed(self._seed("sealing")) if sealed_to else None

    @staticmethod
    def fresh_secrets(role: Role) -> dict[str, bytes]:
        """New random seeds for every key this role has, for `Keystore.create`."""
        return {name: os.urandom(_SEED) for name in _NAMES[role]}

    @classmethod
    def in_memory(cls, name: str, role: Role) -> "Identity":
        """A new identity that lives as long as the process."""
        secrets = Secrets()
        for key, seed in cls.fresh_secrets(role).items():
            secrets.put(key, seed)
        return cls(name, role, secrets)

    def _seed(self, key: str) -> bytes:
        seed = self.secrets.get(key)
        if seed is None:
            raise KeystoreError(f"{self.name}: the keystore lacks the {key} key")
        return seed

    @property
    def note(self) -> SigningKey:
        """The key that signs notes."""
        if self._note is None:
            raise KeystoreError(f"{self.name} signs no notes")
        return self._note

    @property
    def sealing(self) -> SealingKey:
        """The key that others seal to."""
        if self._sealing is None:
            raise KeystoreError(f"{self.name} has no sealing key")
        return self._sealing

    def sealing_seed(self) -> bytes:
        """The seed of the sealing key, for a complaint that opens it.

        Raises:
            KeystoreError: there is none.
        """
        return self._seed("sealing")

    @property
    def retired(self) -> bool:
        """Whether this member's part of the key was erased."""
        return self.secrets.get(_RETIRED) is not None

    def retire(self, *names: str) -> None:
        """Erase, durably, the sealing key and the secrets of these names. The sealing key's public side stays."""
        if not self.retired:
            self.secrets.put(_RETIRED, self.sealing.public)
        self.secrets.discard("sealing", *names)
        self._sealing = None

    @property
    def party(self) -> Party:
        """The public side, for the genesis entry."""
        note = b"" if self._note is None else self._note.public
        seal = (self.secrets.get(_RETIRED) or b"") if self._sealing is None else self._sealing.public
        return Party(self.name, self.role, self.signing.public, note, seal)

    def __repr__(self) -> str:
        return f"Identity({self.name}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an identity cannot be pickled or copied")
