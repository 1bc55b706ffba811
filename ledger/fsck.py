"""Checking everything a store holds, byte by byte, and the folder it was published to; nothing is changed.

Run by: the sequencer's operator, beside the running log or instead of it. What can be mended is told apart from what
only a copy can bring back; `ledger.repair` mends.
"""

from __future__ import annotations

from pathlib import Path

from .checkpoint import verify_checkpoint
from .errors import LedgerError, StoreError
from .files import read_bounded
from .merkle import root
from .note import MAX_NOTE, VerifierKey
from .policy import Policy
from .store import Store
from .survey import Finding, Level, Survey, survey
from .tile import MAX_BUNDLE, TILE_WIDTH, encode_bundle, tiles_of

__all__ = ["Finding", "Level", "fsck"]


def fsck(
    store: Store, log_key: VerifierKey, *, policy: Policy | None = None, directory: Path | None = None
) -> list[Finding]:
    """Check all of a store, and the folder it was published to; nothing is changed. No findings: all is well.

    Run by: the sequencer's operator; with `SqliteStore(path, readonly=True)` beside the running log. With a `policy`
    the cosignatures of the stored certificate and of the published checkpoint are verified too, else only the log's own
    signature.

    Raises:
        ValueError: the policy is of another log.
        StateError: the store is closed.
    """
    if policy is not None and policy.log_key != log_key:
        raise ValueError(f"the policy is of {policy.origin}, the log is {log_key.name}")
    found = survey(store, log_key, policy)
    if directory is not None:
        _check_folder(store, found, log_key, policy, Path(directory))
    return found.findings


def _check_folder(store: Store, found: Survey, log_key: VerifierKey, policy: Policy | None, directory: Path) -> None:
    """Compare a published folder with the store, as far as the store can be relied on."""
    try:
        note = read_bounded(directory / "checkpoint", limit=MAX_NOTE)
        if note is None:
            found.add(Level.DERIVED, f"{directory / 'checkpoint'}", "is missing: publish again")
            return
        published = verify_checkpoint(note, log_key)
        if policy is not None:
            _check_cosignatures(found, policy, note, directory / "checkpoint")
    except LedgerError as exc:
        found.add(Level.DERIVED, f"{directory / 'checkpoint'}", f"{exc}: publish again")
        return
    size, hashes = published.size, found.hashes
    if size > found.head.size:
        what = f"it has size {found.head.size}, {directory} shows size {size}: the store was rolled back"
        found.add(Level.CERTIFIED, "head", what)
    if hashes is None or size > hashes.size:
        return
    if root(hashes, size) != published.root:
        found.add(Level.CERTIFIED, f"{directory / 'checkpoint'}", f"states another root than the store has at {size}")
        return
    for tile in tiles_of(size):
        _check_file(found, directory / tile.path(), hashes.tile(tile))
        if tile.level == 0 and (tile.index == hashes.size // TILE_WIDTH or hashes.has_entries(tile.index)):
            entries = store.entries(tile.start, tile.start + tile.width)
            _check_file(found, directory / tile.bundle_path(), encode_bundle(entries))


def _check_cosignatures(found: Survey, policy: Policy, note: bytes, path: Path) -> None:
    try:
        policy.verify(note)
    except LedgerError as exc:
        found.add(Level.DERIVED, f"{path}", f"{exc}: readers refuse it; publish the certificate again")


def _check_file(found: Survey, path: Path, expected: bytes) -> None:
    try:
        data = read_bounded(path, limit=MAX_BUNDLE)
    except StoreError as exc:
        found.add(Level.DERIVED, f"{path}", f"{exc}: remove it and publish again")
        return
    if data != expected:
        what = "is missing: publish again" if data is None else "differs from the store: remove it and publish again"
        found.add(Level.DERIVED, f"{path}", what)
