"""Signing a report: who vouches for it, with which software it was made, whose data it is and what for.

The figures need no signature: anyone recomputes them from the log. The signature adds what no log can show.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Protocol, Self

from ledger import SignatureError, SigningKey, verify_strict

from .spelling import encode

__all__ = ["ALGORITHM", "PACKAGES", "Signatory", "Signature", "check_signature", "made_with", "sign"]

ALGORITHM: Final = "Ed25519"
PACKAGES: Final = ("secure-bfl", "dp-accounting", "opacus", "torch", "numpy", "scipy")
"""The distributions that the figures are computed with."""

_CONTEXT: Final = b"secure-bfl/budget-report/v1"
_MAX_NAME, _MAX_PROSE, _MAX_PACKAGES = 256, 2000, 64
_HEX: Final = {"public_key": 64, "value": 128, "supersedes": 32}


class _Role(Protocol):
    @property
    def name(self) -> str: ...


class Signatory(Protocol):
    """A party as the ledger knows it: its role and the Ed25519 key that is in force."""

    @property
    def role(self) -> _Role: ...

    @property
    def signing_key(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature block of a report. Fields are public; `public_key`, `supersedes` and `value` are lower-case hex.

    Raises:
        ValueError: a text is empty, too long or not printable, or hex is not of its size.
    """

    signer: str
    role: str
    public_key: str
    algorithm: str
    made_with: Mapping[str, str]
    supersedes: str | None
    controller: str | None
    purpose: str | None
    value: str

    def __post_init__(self) -> None:
        for name, limit in (("signer", _MAX_NAME), ("role", _MAX_NAME), ("algorithm", _MAX_NAME)):
            _check_text(name, getattr(self, name), limit)
        for name in ("controller", "purpose"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name), _MAX_PROSE)
        for name, size in _HEX.items():
            text = getattr(self, name)
            if text is None and name == "supersedes":
                continue
            if not isinstance(text, str) or not re.fullmatch(rf"[0-9a-f]{{{size}}}", text):
                raise ValueError(f"{name} is {size} lower-case hex digits")
        if not isinstance(self.made_with, Mapping) or len(self.made_with) > _MAX_PACKAGES:
            raise ValueError(f"made_with maps up to {_MAX_PACKAGES} packages to their versions")
        for package, number in self.made_with.items():
            _check_text("a package of made_with", package, _MAX_NAME)
            _check_text("a version of made_with", number, _MAX_NAME)

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Self:
        """Read a report's block.

        Raises:
            SignatureError: there is none, or it has other fields or values than a signature block.
        """
        block = report.get("signature")
        if block is None:
            raise SignatureError("the report is not signed")
        if not isinstance(block, Mapping) or set(block) != set(cls.__slots__):
            raise SignatureError(f"a report's signature has the fields {', '.join(cls.__slots__)}")
        try:
            return cls(**block)
        except ValueError as exc:
            raise SignatureError(f"the report's signature is malformed: {exc}") from exc


def _check_text(name: str, value: Any, limit: int) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= limit or not value.isprintable():
        raise ValueError(f"{name} must be 1 to {limit} printable characters")


def made_with(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions installed here, of those of `packages` that are."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _message(report: Mapping[str, Any]) -> bytes:
    """What is signed: the context, then the canonical JSON of the report whose block has no `value` yet."""
    block = {name: inner for name, inner in report["signature"].items() if name != "value"}
    return _CONTEXT + encode({**report, "signature": block})


def sign(
    report: Mapping[str, Any],
    key: SigningKey,
    *,
    signer: str,
    role: str,
    supersedes: str | None = None,
    controller: str | None = None,
    purpose: str | None = None,
) -> dict[str, Any]:
    """Return the report with a signature block; an earlier block is replaced.

    Run by: a party of the federation, with the key that the ledger has for it.
    `supersedes` is the `identity.id` of the report that this one replaces; `controller` and `purpose` say who answers
    for the records and what the model is for.

    Raises:
        ValueError: a text is empty or too long, or `supersedes` is not a report's id.
    """
    block = Signature(
        signer=signer,
        role=role,
        public_key=key.public.hex(),
        algorithm=ALGORITHM,
        made_with=made_with(),
        supersedes=supersedes,
        controller=controller,
        purpose=purpose,
        value="0" * _HEX["value"],
    )
    signed = {**report, "signature": asdict(block)}
    value = key.sign(_message(signed)).hex()
    return {**signed, "signature": {**signed["signature"], "value": value}}


def check_signature(report: Mapping[str, Any], parties: Mapping[str, Signatory]) -> Signature:
    """Check a report's signature against the parties of its ledger. Run by: anyone. The figures are not checked here.

    Returns the block that is thereby proven to be the signer's.

    Raises:
        SignatureError: there is no signature, it is malformed, or it is not by the party it names with the key and the
            role that the ledger has for it; `culprits` names the signer, once there is one.
    """
    block = Signature.of(report)
    culprits = (block.signer,)
    party = parties.get(block.signer)
    if party is None:
        raise SignatureError(f"the report is signed by {block.signer}, who is no party of this ledger")
    if block.algorithm != ALGORITHM:
        raise SignatureError(f"the report's signature is not {ALGORITHM}", culprits=culprits)
    if block.role != party.role.name.lower():
        raise SignatureError(f"{block.signer} signed the report as {block.role}, which it is not", culprits=culprits)
    if block.public_key != party.signing_key.hex():
        raise SignatureError(
            f"the report is signed with another key than the ledger has for {block.signer}", culprits=culprits
        )
    try:
        message = _message(report)
    except (ValueError, TypeError, RecursionError) as exc:
        raise SignatureError(f"the signed report has no canonical form: {exc}", culprits=culprits) from exc
    try:
        verify_strict(party.signing_key, bytes.fromhex(block.value), message)
    except SignatureError as exc:
        raise SignatureError(
            f"the report is not what {block.signer} signed: it was changed after signing", culprits=culprits
        ) from exc
    return block
