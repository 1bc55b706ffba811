"""What a running log does again and again: have its checkpoint cosigned, and publish it."""

import sys
import threading
from collections.abc import Callable
from typing import Final, Protocol

from ledger import Certificate, ConsistencyError, EquivocationError, StoreError
from ledger.errors import RolledBackError, escaped

__all__ = ["Certifying", "Recurring", "say"]

_STOP_SECONDS: Final = 2.0
"""What a certification that is under way is given to end by itself. It may be cut off at any moment."""


class Certifying(Protocol):
    """What is called again and again: `ledger.web.service.LogService`."""

    def certify_and_publish(self) -> Certificate | None:
        """Certify and publish what is new."""
        ...


def say(news: str) -> None:
    """One line of news on standard error, safe to print."""
    print(f"secure-bfl: {escaped(news)}", file=sys.stderr, flush=True)


class Recurring(threading.Thread):
    """Certifies and publishes until told to stop. What goes wrong is said, once while it stays the same; what cannot be
    made good while the log runs ends it: then `ended` is the reason.
    """

    def __init__(
        self, service: Certifying, failure: Callable[[], str | None], every: float, end: Callable[[], None]
    ) -> None:
        super().__init__(daemon=True)
        self._service, self._failure, self._every, self._end = service, failure, every, end
        self._asked_to_stop = threading.Event()
        self._said = ""
        self.ended: Exception | None = None

    def run(self) -> None:
        """The thread's work."""
        while not self._asked_to_stop.wait(self._every):
            try:
                certificate = self._service.certify_and_publish()
            except (ConsistencyError, EquivocationError, RolledBackError) as exc:
                self.ended = exc
            except Exception as exc:  # noqa: BLE001 - whatever a stranger or a defect brings about, it goes on
                self._say(f"not certified: {type(exc).__name__}: {exc}")
            else:
                if certificate is not None:
                    self._say(f"certified {certificate.checkpoint.size} entries")
            failure = self._failure()
            if failure is not None:
                self.ended = StoreError(f"the store failed; start again when it is whole: {failure}")
            if self.ended is not None:
                self._end()
                return

    def _say(self, news: str) -> None:
        if news != self._said and not self._asked_to_stop.is_set():
            say(news)
        self._said = news

    def stop(self) -> None:
        """Have it end; what is under way may be cut off."""
        self._asked_to_stop.set()
        self.join(_STOP_SECONDS)
