"""A witnessed log as one service: entries in, certified checkpoints out, and the published files to read.

`POST add-entries` goes to the sequencer, everything else to the published folder. Whoever runs it calls
`certify_and_publish` every few seconds; entries are taken while the witnesses are asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from ..certifying import CosigningWitness, certify
from ..errors import DamagedStoreError, EquivocationError, LedgerError, RolledBackError, StoreError
from ..log import Log
from ..note import VerifierKey
from ..policy import Certificate, Policy
from ..publishing import publish
from ..sequencer import Sequencer
from .entries import ADD_ENTRIES, entries_app
from .log import static_app

__all__ = ["LogService", "log_context"]

_TIMEOUT: Final = 5.0


def log_context(log_key: VerifierKey) -> bytes:
    """The context that entries of a log of its own are signed in: SHA-256 of the log's public key as text.

    A federation's entries are signed in the hash of its genesis entry instead, which names the log's key too.
    """
    return hashlib.sha256(log_key.to_vkey().encode()).digest()


class LogService:
    """The application and the recurring work of one log. Its methods may be called from different threads.

    `witnesses` maps names of the policy to witnesses, None for one that has no address. `directory` is what is
    published and served; `clock` gives POSIX seconds; `timeout` is what witnesses are given together, in seconds.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        policy: Policy,
        witnesses: Mapping[str, CosigningWitness | None],
        directory: Path,
        clock: Callable[[], int],
        *,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._sequencer = sequencer
        self._policy = policy
        self._witnesses = dict(witnesses)
        self._directory = Path(directory)
        self._clock = clock
        self._timeout = timeout
        self.app = _routed(entries_app(sequencer), static_app(directory))

    def certify_and_publish(self) -> Certificate | None:
        """Have what was added since the last certificate cosigned, and publish it; None if there is nothing new.

        A certificate that the policy does not accept, as it was changed, is made anew. A folder that could not be
        written, or a call that was interrupted, is made good by the next call.

        Raises:
            QuorumError: too few witnesses cosigned; entries are taken all the same. Call again later.
            EquivocationError: a witness proved that this log signed two roots for one size.
            RolledBackError: witnesses have cosigned more than the log has.
            ConsistencyError: the published folder holds another history.
            StoreError: the published folder failed, and entries are taken all the same; or the store, and they are not.
            StateError: the sequencer is closed.
        """
        with self._sequencer.exclusively() as log:
            kept = self._kept(log)
            if log.size == (0 if kept is None else kept.checkpoint.size):
                pinned = None
            else:
                pinned = _Pinned(log, self._sequencer.exclusively)
        if pinned is None:
            if kept is not None:
                self._publish(kept)
            return None
        try:
            certificate = certify(pinned, self._witnesses, self._policy, now=self._clock(), timeout=self._timeout)
        except (EquivocationError, RolledBackError):
            raise
        except LedgerError:
            if kept is not None:  # its publication may have failed before
                self._publish(kept)
            raise
        self._publish(certificate)
        return certificate

    def _kept(self, log: Log) -> Certificate | None:
        """The certificate that the log keeps, if this policy accepts it."""
        note = log.certified()
        try:
            return None if note is None else self._policy.verify(note)
        except LedgerError:
            return None

    def _publish(self, certificate: Certificate) -> None:
        """Publish. What fails in the folder is raised only when the log is free: its store is whole."""
        failure: StoreError | None = None
        with self._sequencer.exclusively() as log:
            try:
                publish(log, certificate, self._directory)
            except DamagedStoreError:
                raise
            except StoreError as exc:
                failure = exc
        if failure is not None:
            raise failure


class _Pinned:
    """A log at one size: what `certify` needs of it, taking the log only for as long as it is read."""

    def __init__(self, log: Log, exclusively: Callable[[], AbstractContextManager[Log]]) -> None:
        self.origin = log.origin
        self.verifier = log.verifier
        self.size = log.size
        self._note = log.checkpoint()
        self._exclusively = exclusively

    def checkpoint(self) -> bytes:
        return self._note

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        with self._exclusively() as log:
            return log.consistency_proof(old, new)

    def keep_certificate(self, certificate: Certificate) -> None:
        with self._exclusively() as log:
            log.keep_certificate(certificate)


def _routed(entries: WSGIApplication, files: WSGIApplication) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        chosen = entries if environ.get("PATH_INFO") == f"/{ADD_ENTRIES}" else files
        return chosen(environ, start_response)

    return app
