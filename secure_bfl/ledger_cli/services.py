"""`secure-bfl ledger serve | keygen | witness | run`: what goes on until it is stopped."""

import argparse
import hashlib
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from ledger import (
    ConsistencyError,
    DamagedStoreError,
    DecodeError,
    Equivocation,
    EquivocationError,
    StoreError,
    VerifierKey,
    create_durably,
    write_durably,
)
from ledger.errors import RolledBackError
from ledger.note import ED25519
from ledger.web.service import LogService, log_context

from ..errors import KeystoreError, OutputError
from ..exitcodes import ExitCode
from ..founding import open_store
from ..log_keys import KeyKind
from .reading import read_file
from .recurring import Recurring, say

__all__ = ["be_witness", "make_key", "run_log", "serve_log"]

_WITNESS_SECONDS: Final = 5.0
"""What one witness, and all of them together, are given to answer."""


def _listen(app: Any, options: argparse.Namespace) -> ExitCode:
    _serve_until_stopped(_server(app, options))
    return ExitCode.OK


def _server(app: Any, options: argparse.Namespace) -> Any:
    try:
        from ledger.web.server import Server
    except ImportError as exc:
        raise ValueError("serving needs the extra `server`: pip install 'secure-bfl[server]'") from exc

    try:
        return Server(app, host=options.host, port=options.port)
    except OSError as exc:
        raise OutputError(f"{options.host}, port {options.port}: {exc.strerror or exc}; choose another --port") from exc


def _serve_until_stopped(server: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: server.close())
    print(f"listening on {server.url}", flush=True)
    server.run()


def serve_log(options: argparse.Namespace) -> ExitCode:
    """Serve a published folder."""
    from ledger.web.log import static_app

    if not (options.dir / "checkpoint").is_file():
        raise OutputError(f"{options.dir} holds no published log: there is no checkpoint in it")
    return _listen(static_app(options.dir), options)


def _passphrase() -> str:
    from ..keystore import PASSPHRASE_VARIABLE, given_passphrase

    passphrase = given_passphrase(ask=sys.stdin.isatty())
    if passphrase is None:
        raise KeystoreError(f"no passphrase: set {PASSPHRASE_VARIABLE}, or call from a terminal")
    return passphrase


def make_key(options: argparse.Namespace) -> ExitCode:
    """Make the key of a log or a witness."""
    from ..log_keys import create_key

    print(create_key(options.dir, options.name, KeyKind(options.kind), _passphrase()).to_vkey())
    return ExitCode.OK


def be_witness(options: argparse.Namespace) -> ExitCode:
    """Cosign for the given logs until stopped."""
    from ledger import SqliteWitnessStore, Witness
    from ledger.web.witness import witness_app

    from ..log_keys import open_key

    origins = [log_key.name for log_key in options.log]
    for origin in origins:
        if origins.count(origin) > 1:
            raise ValueError(f"two keys of {origin}: a witness knows one key of a log; a new key needs a new origin")
    public, key = open_key(options.dir, _passphrase())
    if public.kind == ED25519:
        raise KeystoreError(f"{options.dir} has a log's key: a witness has its own, see `keygen --kind witness`")
    witnesses: dict[str, Witness] = {}
    for log_key in options.log:
        # The state belongs to the origin, as cosignatures do: they do not name the log's key. A witness that began
        # anew for another key of the log would cosign a second history, which the first key can sign too.
        path = options.dir / f"{hashlib.sha256(log_key.name.encode()).hexdigest()[:16]}.sqlite"
        mark = path.with_suffix(".founded")
        if mark.exists() and not path.exists():
            raise StoreError(
                f"{path} is missing: without it this witness would cosign another history; bring it back as it was "
                "last, or make a new key"
            )
        witness = Witness(public.name, key, log_key, SqliteWitnessStore(path))
        create_durably(mark, f"{log_key.name} has been cosigned here.\n".encode())
        try:
            _ = witness.size
        except StoreError as exc:
            raise StoreError(f"{path}: {exc}; if the log has a new key, it needs a new origin") from exc
        witnesses[log_key.name] = witness

    def report() -> None:
        for origin, witness in witnesses.items():
            found = witness.evidence
            if found is not None:
                name = hashlib.sha256(found.log_key.to_vkey().encode()).hexdigest()[:16]
                path = options.dir / f"{name}.equivocation"
                if not path.exists():
                    write_durably(path, found.encode())
                    say(f"{origin} signed two histories; the evidence is in {path}")

    app = witness_app(witnesses, _now)

    def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        statuses: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            statuses.append(status)
            return start_response(status, headers)

        answer = app(environ, start)
        if statuses[0].startswith("409"):
            report()
        return answer

    report()
    print(public.to_vkey())
    return _listen(watched, options)


def _now() -> int:
    return int(time.time())


def _senders(path: Path) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(read_file(path).decode("utf-8", "replace").splitlines(), start=1):
        name, _, text = line.strip().rpartition(" ")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if not name.strip() or len(key) != 32 or name.strip() in keys:
            raise ValueError(f"{path}, line {number}: not `NAME HEX` with a public key of 64 hex digits, once a name")
        keys[name.strip()] = key
    return keys


def run_log(options: argparse.Namespace) -> ExitCode:
    """Run a small witnessed log until stopped."""
    from ledger import Log, SigningKey, SqliteStore
    from ledger.policy import read_policy
    from ledger.policy_file import MAX_POLICY_FILE, parse_policy_file
    from ledger.sequencer import Sequencer
    from ledger.store import Store
    from ledger.verifying import VerifierPool
    from ledger.web import HttpClient
    from ledger.web.witness import RemoteWitness

    from ..log_keys import open_key

    if options.every <= 0:
        raise ValueError("--every is a number of seconds above 0")
    senders = _senders(options.senders)
    text = read_file(options.policy, MAX_POLICY_FILE)
    try:
        policy, addresses = read_policy(text), {w.key.name: w.url for w in parse_policy_file(text).witnesses}
    except DecodeError as exc:
        raise ValueError(f"{options.policy}: {exc}") from exc
    public, key = open_key(options.dir, _passphrase())
    if policy.log_key != public or not isinstance(key, SigningKey):
        raise ValueError(f"{options.policy} is the policy of {policy.log_key.to_vkey()}, the log's key is another")
    seconds = _WITNESS_SECONDS
    clients = {name: HttpClient(url, timeout=seconds, deadline=seconds) for name, url in addresses.items() if url}
    witnesses = {
        witness.name: RemoteWitness(clients[witness.name], witness) if witness.name in clients else None
        for witness in policy.witnesses
    }

    def opened(create: bool) -> Store:
        if options.postgres is None:
            return SqliteStore(options.dir / "log.sqlite", create=create)
        from ledger.postgres import PostgresStore

        return PostgresStore(options.postgres, create=create)

    store = open_store(options.dir, options.dir / "public", opened)
    log = Log(store, public.name, key)
    pool = VerifierPool(senders, context=log_context(public), workers=options.workers)
    sequencer = Sequencer(log, pool)
    service = LogService(sequencer, policy, witnesses, options.dir / "public", _now, timeout=seconds)
    server = _server(service.app, options)
    recurring = Recurring(service, lambda: sequencer.failure, options.every, server.close)
    recurring.start()
    try:
        print(public.to_vkey())
        _serve_until_stopped(server)
    finally:
        recurring.stop()
        sequencer.close()
        pool.close()
        log.close()
        for client in clients.values():
            client.close()
    if recurring.ended is not None:
        raise _reason_to_stop(recurring.ended, public, options.dir)
    return ExitCode.OK


def _reason_to_stop(ended: Exception, log_key: VerifierKey, folder: Path) -> Exception:
    """What the caller is told. Evidence against this log is kept in a file beside its key."""
    if isinstance(ended, ConsistencyError):
        return DamagedStoreError(
            f"{ended}: this log was rolled back, or the folder is another's; bring back the newest"
        )
    if isinstance(ended, RolledBackError):
        return DamagedStoreError(str(ended))
    if not isinstance(ended, EquivocationError):
        return ended
    path = folder / "own.equivocation"
    write_durably(path, Equivocation(log_key, *ended.evidence).encode())
    return DamagedStoreError(
        f"{ended}; the evidence is in {path}. This log is over: found a new one under another origin, and never go on "
        "from an old copy"
    )
