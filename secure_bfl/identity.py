"""A party's keys: made at the edge, kept in its keystore, shown to the others as a roster entry.

The signing key can be replaced. Which one is in force is for the ledger to say, so every kept one is held ready, and
whoever signs asks for the one that counts now (`Identity.signing_in`).
"""

import os
from typing import TYPE_CHECKING, Final, NoReturn

from ledger import SigningKey

from .errors import KeystoreError, StateError
from .keystore import Keystore
from .messages import KeyClaim, KeyRevocation, KeyRotation, Party, Role
from .possession import claim_key
from .sealing import SealingKey

if TYPE_CHECKING:
    from .board import Board
    from .replay import Replay
    from .standing import Standing

__all__ = ["Identity", "Secrets"]

_SEED: Final = 32
_RETIRED: Final = "retired"
_SIGNING: Final = "signing"
_FOUNDING: Final = "first-signing-key"  # the public side of the first one, once its seed is erased
_NAMES: Final = {
    Role.OPERATOR: ("signing", "note"),
    Role.MEMBER: ("signing", "note", "sealing"),
    Role.CLIENT: ("signing",),
}


class Secrets:
    """Where a party's secrets live: a `Keystore`, or this, in memory, for tests and simulations."""

    def __init__(self) -> None:
        self._secrets: dict[str, bytes] = {}

    def names(self) -> tuple[str, ...]:
        """The names of all secrets, in order."""
        return tuple(sorted(self._secrets))

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

    __slots__ = ("_note", "_sealing", "name", "role", "secrets")

    def __init__(self, name: str, role: Role, secrets: "Secrets | Keystore") -> None:
        self.name, self.role, self.secrets = name, role, secrets
        if not self._signing_names():
            raise KeystoreError(f"{self.name}: the keystore lacks the signing key")
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

    def _signing_names(self) -> tuple[str, ...]:
        """The names of the seeds of signing keys, the oldest first."""
        names = (name for name in self.secrets.names() if name.partition("/")[0] == _SIGNING)
        return tuple(sorted(names, key=lambda name: int(name.partition("/")[2] or 0)))

    def _signing_keys(self) -> dict[bytes, SigningKey]:
        """The signing keys that are kept, by their public side, the oldest first."""
        keys = [SigningKey.from_seed(self._seed(name)) for name in self._signing_names()]
        return {key.public: key for key in keys}

    @property
    def signing(self) -> SigningKey:
        """The oldest signing key that is kept: the one to found or join a federation with."""
        return next(iter(self._signing_keys().values()))

    def signing_in(self, replay: "Replay") -> SigningKey:
        """The signing key to use now: the kept one that is in force on this ledger, else the oldest one."""
        standing = replay.standings.get(self.name)
        key = None if standing is None else self._signing_keys().get(standing.newest.public)
        return self.signing if key is None else key

    def _standing(self, replay: "Replay") -> "Standing":
        standing = replay.standings.get(self.name)
        if standing is None:
            raise StateError(f"{self.name} is not a party of this federation", culprits=(self.name,))
        return standing

    def _waiting(self, standing: "Standing") -> list[SigningKey]:
        """The kept keys that no entry brought into force, and that were drawn after all that were, the oldest first."""
        known = {key.public for key in standing.keys}
        waiting: list[SigningKey] = []
        for public, key in self._signing_keys().items():
            waiting = [] if public in known else [*waiting, key]
        return waiting

    def _draw(self) -> SigningKey:
        """A new signing key, durably kept."""
        number = int(self._signing_names()[-1].partition("/")[2] or 0) + 1
        name = f"{_SIGNING}/{number}"
        self.secrets.put(name, os.urandom(_SEED))
        return SigningKey.from_seed(self._seed(name))

    def rotate(self, board: "Board") -> None:
        """Replace the signing key, from the next entry on. The new seed is durable before anybody hears of its key.

        Can be called again after a crash anywhere: before the entry is written it goes on with the seed that was drawn.
        `forget_former_keys` ends a rotation.

        Raises:
            StateError: not a party; or the key was revoked, or rotated as often as it can be: members must vote for
                another one (`claim`); or a rotation is on the ledger and not ended.
            KeystoreError: the key in force is not kept here.
            StoreError: the new seed, or the entry, could not be written.
        """
        standing = self._standing(board.replay)
        if not standing.in_force:
            raise StateError(f"{self.name}: its key was revoked; members must vote for a new one")
        kept = self._signing_keys()
        if standing.newest.public not in kept:
            raise KeystoreError(f"{self.name}: the keystore lacks the signing key that is in force")
        if any(key.public in kept for key in standing.keys[:-1]):
            raise StateError(
                f"{self.name}: entry {standing.newest.since} gave it a new key already, and the former one is still "
                "kept: have the log certified and call `forget_former_keys`, then rotate again"
            )
        waiting = self._waiting(standing)
        key = waiting[-1] if waiting else self._draw()
        claim = claim_key(board.replay.context, self.name, standing.number, key)
        body = KeyRotation(claim.number, claim.key, claim.proof)
        board.append(body, self.name, kept[standing.newest.public])

    def claim(self, replay: "Replay") -> KeyClaim:
        """A claim to a new signing key, for members to vote on if the one in force is lost or revoked.

        Each call draws another key, which nobody can have copied yet. All are kept; the one they vote for counts.

        Raises:
            StateError: not a party of this federation.
            StoreError: the new seed could not be written.
        """
        standing = self._standing(replay)
        return claim_key(replay.context, self.name, standing.number, self._draw())

    def revoke(self, board: "Board", reason: str) -> None:
        """Revoke the own signing key: nothing signed with it counts any more. Does nothing if that is done.

        Raises:
            StateError: not a party of this federation.
        """
        standing = self._standing(board.replay)
        if standing.in_force:
            body = KeyRevocation(self.name, standing.number, b"", b"", reason)
            board.append(body, self.name, self.signing_in(board.replay))

    def forget_former_keys(self, replay: "Replay", *, certified: int) -> None:
        """Erase, durably, the seeds of keys that do not count any more.

        Only of those whose end lies under a certified checkpoint of `certified` entries, which the caller has verified:
        until then the log could lose the entry, and the former key would be needed to write it again.

        Raises:
            StoreError: the keystore could not be written.
        """
        standing = self._standing(replay)
        ended = {key.public for key in standing.keys if key.until is not None and key.until < certified}
        kept = self._signing_keys()
        names = dict(zip(kept, self._signing_names(), strict=True))
        gone = tuple(name for public, name in names.items() if public in ended)
        if gone and standing.newest.public in kept and standing.in_force:
            self.secrets.put(_FOUNDING, self.party.signing_key)
            self.secrets.discard(*gone)

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
        first = self.secrets.get(_FOUNDING) or self.signing.public
        return Party(self.name, self.role, first, note, seal)

    def __repr__(self) -> str:
        return f"Identity({self.name}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an identity cannot be pickled or copied")
