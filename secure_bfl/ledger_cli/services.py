"""`secure-bfl ledger serve | keygen | witness | run`: what goes on until it is stopped."""

import argparse
import hashlib
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from ledger import LedgerError

from ..errors import KeystoreError, OutputError
from ..exitcodes import ExitCode
from ..log_keys import KeyKind
from .reading import read_file

__all__ = ["be_witness", "make_key", "run_log", "serve_log"]

_WITNESS_SECONDS: Final = 5.0


def _listen(app: Any, options: argparse.Namespace) -> ExitCode:
    try:
        from ledger.web.server import Server
    except ImportError as exc:
        raise ValueError("serving needs the extra `server`: pip install 'secure-bfl[server]'") from exc

    server = Server(app, host=options.host, port=options.port)
    signal.signal(signal.SIGTERM, lambda *_: server.close())
    print(f"listening on {server.url}", flush=True)
    server.run()
    return ExitCode.OK


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
    from ledger import SqliteWitnessStore, Witness, write_durably
    from ledger.web.witness import witness_app

    from ..log_keys import open_key

    public, key = open_key(options.dir, _passphrase())
    witnesses: dict[str, Witness] = {}
    for log_key in options.log:
        name = hashlib.sha256(log_key.to_vkey().encode()).hexdigest()[:16]
        witnesses[log_key.name] = Witness(public.name, key, log_key, SqliteWitnessStore(options.dir / f"{name}.sqlite"))

    def report() -> None:
        for origin, witness in witnesses.items():
            found = witness.evidence
            if found is not None:
                name = hashlib.sha256(found.log_key.to_vkey().encode()).hexdigest()[:16]
                path = options.dir / f"{name}.equivocation"
                if not path.exists():
                    write_durably(path, found.encode())
                    print(f"secure-bfl: {origin} signed two histories; the evidence is in {path}", file=sys.stderr)

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
    from ledger.web.service import LogService, log_context
    from ledger.web.witness import RemoteWitness

    from ..log_keys import open_key

    if options.every <= 0:
        raise ValueError("--every is a number of seconds above 0")
    senders = _senders(options.senders)
    text = read_file(options.policy, MAX_POLICY_FILE)
    policy, addresses = read_policy(text), {w.key.name: w.url for w in parse_policy_file(text).witnesses}
    public, key = open_key(options.dir, _passphrase())
    if policy.log_key != public or not isinstance(key, SigningKey):
        raise ValueError(f"{options.policy} is the policy of {policy.log_key.to_vkey()}, the log's key is another")
    clients = {name: HttpClient(url, timeout=_WITNESS_SECONDS) for name, url in addresses.items() if url}
    witnesses = {
        witness.name: RemoteWitness(clients[witness.name], witness) if witness.name in clients else None
        for witness in policy.witnesses
    }
    store: Store
    if options.postgres is None:
        store = SqliteStore(options.dir / "log.sqlite")
    else:
        from ledger.postgres import PostgresStore

        store = PostgresStore(options.postgres)
    log = Log(store, public.name, key)
    pool = VerifierPool(senders, context=log_context(public), workers=options.workers)
    sequencer = Sequencer(log, pool)
    service = LogService(sequencer, policy, witnesses, options.dir / "public", _now)
    stop = threading.Event()
    recurring = threading.Thread(target=_certify_for_ever, args=(service, options.every, stop), daemon=True)
    recurring.start()
    try:
        print(public.to_vkey())
        return _listen(service.app, options)
    finally:
        stop.set()
        recurring.join()
        sequencer.close()
        pool.close()
        log.close()
        for client in clients.values():
            client.close()


def _certify_for_ever(service: Any, every: float, stop: threading.Event) -> None:
    """Certify and publish until told to stop; what goes wrong is said, once while it stays the same."""
    said = ""
    while not stop.wait(every):
        try:
            certificate = service.certify_and_publish()
        except (LedgerError, OSError) as exc:
            news = f"not certified: {exc}"
        else:
            if certificate is None:
                continue
            news = f"certified {certificate.checkpoint.size} entries"
        if news != said:
            print(f"secure-bfl: {news}", file=sys.stderr, flush=True)
        said = news
