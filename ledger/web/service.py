"""A witnessed log as one service: entries in, certified checkpoints out, and the published files to read.

`POST add-entries` goes to the sequencer, everything else to the published folder. Whoever runs it calls
`certify_and_publish` every few seconds; entries are taken while the witnesses are asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from ..certifying import CosigningWitness, certify
from ..checkpoint import verify_checkpoint
from ..log import Log
from ..note import VerifierKey
from ..policy import Certificate, Policy
from ..publishing import publish
from ..sequencer import Sequencer
from .entries import ADD_ENTRIES, entries_app
from .log import static_app

__all__ = ["LogService", "log_context"]


def log_context(log_key: VerifierKey) -> bytes:
    """The context that entries of a log of its own are signed in: SHA-256 of the log's public key as text.

    A federation's entries are signed in the hash of its genesis entry instead, which names the log's key too.
    """
    return hashlib.sha256(log_key.to_vkey().encode()).digest()


class LogService:
    """The application and the recurring work of one log. Its methods may be called from different threads.

    `witnesses` maps names of the policy to witnesses, None for one that has no address. `directory` is what is
    published and served; `clock` gives POSIX seconds.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        policy: Policy,
        witnesses: Mapping[str, CosigningWitness | None],
        directory: Path,
        clock: Callable[[], int],
    ) -> None:
        self._sequencer = sequencer
        self._policy = policy
        self._witnesses = dict(witnesses)
        self._directory = Path(directory)
        self._clock = clock
        self.app = _routed(entries_app(sequencer), static_app(directory))

    def certify_and_publish(self) -> Certificate | None:
        """Have what was added since the last certificate cosigned, and publish it; None if there is nothing new.

        Raises:
            QuorumError: too few witnesses cosigned; entries are taken all the same. Call again later.
            EquivocationError: a witness proved that this log signed two roots for one size.
            StoreError: the store or the published folder failed.
            StateError: the sequencer is closed.
        """
        with self._sequencer.exclusively() as log:
            kept = log.certified()
            certified = 0 if kept is None else verify_checkpoint(kept, log.verifier).size
            if log.size == certified:
                if kept is not None:  # a call that was interrupted before it published is made good
                    publish(log, self._policy.verify(kept), self._directory)
                return None
            pinned = _Pinned(log, self._sequencer.exclusively)
        certificate = certify(pinned, self._witnesses, self._policy, now=self._clock())
        with self._sequencer.exclusively() as log:
            publish(log, certificate, self._directory)
        return certificate


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
