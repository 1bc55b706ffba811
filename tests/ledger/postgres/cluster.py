"""Real PostgreSQL servers in a temporary folder: a primary and its synchronous standby, to be killed at will.

For Linux, whose /proc and setpriv it uses. The servers listen on loopback only, ask for a random password, and run as
`postgres` or `nobody` where the tests run as root, since PostgreSQL refuses to.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import IO

import psycopg

__all__ = ["GUIDE", "Cluster", "Server", "find_binaries", "printed"]

NODES = ("node_a", "node_b")
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "run-on-postgresql.md"
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{root}'
cluster_name = '{name}'
shared_buffers = 16MB
max_connections = 20
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 200ms
"""


def printed(name: str) -> str:
    """The block of the guide behind the comment of that name."""
    behind = GUIDE.read_text(encoding="utf-8").split(f"<!-- {name} -->\n")[1]
    return behind.split("```", 2)[1].partition("\n")[2]


def find_binaries() -> Path | None:
    """The folder with the newest server programs, in Debian's place or on the path; None if there are none."""
    if sys.platform != "linux":
        return None
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        places.append(Path(on_path).resolve().parent)
    return next((place for place in places if (place / "initdb").exists()), None)


def _account() -> pwd.struct_passwd | None:
    """Whom the servers run as: nobody else, unless the tests run as root."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _status(process: int) -> tuple[str, int]:
    """State and parent of a process; a dead one (X) where there is none."""
    try:
        state, parent, *_ = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return state, int(parent)


def _runs(process: int) -> bool:
    return _status(process)[0] not in "XZ"


def _children(parent: int) -> list[int]:
    processes = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [process for process in processes if _status(process)[1] == parent]


@dataclass
class Server:
    """One server: its data folder, its port and, while it runs, its first process."""

    name: str
    cluster: "Cluster"
    port: int = field(default_factory=_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.cluster.root / self.name

    def dsn(self, database: str = "postgres") -> str:
        return f"host=127.0.0.1 port={self.port} user=admin password={self.cluster.password} dbname={database}"

    def connect(self, *, wait: float = 0.0) -> psycopg.Connection[tuple[object, ...]]:
        """A session of the administrator; `wait` seconds are given to a server that is only just starting."""
        deadline = monotonic() + wait
        while True:
            try:
                return psycopg.connect(self.dsn(), autocommit=True, connect_timeout=5)
            except psycopg.OperationalError:
                if monotonic() >= deadline:
                    raise
                sleep(0.05)

    def run(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as the administrator; the rows of the last one. None of them waits for a standby."""
        with self.connect() as connection:
            connection.execute("SET synchronous_commit = local")
            cursor = None
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor is not None and cursor.description else []

    def start(self) -> None:
        assert self.process is None
        with (self.data.parent / f"{self.name}.log").open("ab") as log:
            self.process = self.cluster.popen("postgres", "-D", str(self.data), stdout=log)
        self.connect(wait=60).close()

    def stop(self) -> None:
        """Shut down in good order, if it runs."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would."""
        process = self.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)  # so that it starts no more of them meanwhile
        doomed = _children(process.pid)
        process.kill()
        for child in doomed:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        while any(_runs(child) for child in doomed):  # they hold its shared memory
            sleep(0.01)
        self.process = None

    def pause(self) -> None:
        """Freeze every process: the server's sockets stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def promote(self) -> None:
        self.cluster.run("pg_ctl", "promote", "-w", "-D", str(self.data))

    def clone(self, primary: "Server") -> None:
        """Become a standby of the primary, made anew from a base backup."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)
        self.cluster.run(
            "pg_basebackup", "-d", primary.dsn(), "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "--no-sync"
        )
        self.configure()
        self.start()
        self.await_sync(primary)

    def await_sync(self, primary: "Server") -> None:
        """Wait until the primary counts this server as a synchronous standby."""
        query = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND sync_state = 'quorum'"
        deadline = monotonic() + 60
        with primary.connect() as connection:
            while not connection.execute(query, (self.name,)).fetchall():
                assert monotonic() < deadline, f"{self.name} does not become a standby of {primary.name}"
                sleep(0.05)

    def configure(self) -> None:
        path = self.data / "settings.conf"
        own = SETTINGS.format(port=self.port, root=self.cluster.root, name=self.name)
        path.write_text(printed("settings") + own, encoding="utf-8")
        self.cluster.give(path)

    def _signal_all(self, number: int) -> None:
        assert self.process is not None
        for process in (self.process.pid, *_children(self.process.pid)):
            os.kill(process, number)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=60)
            self.process = None


class Cluster:
    """Two servers: the first starts as the primary, the second as its synchronous standby."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.password = secrets.token_hex(16)
        self._account = _account()
        self.root = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.give(self.root)
        self.servers = tuple(Server(name, self) for name in NODES)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        primary, standby = self.servers
        secret = self.root / "password"
        secret.write_text(self.password, encoding="ascii")
        self.give(secret)
        initdb = ("initdb", "-D", str(primary.data), "-U", "admin", "-A", "scram-sha-256", "--pwfile", str(secret))
        self.run(*initdb, "-E", "UTF8", "--locale", "C", "--data-checksums", "--wal-segsize", "1", "--no-sync")
        with (primary.data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write("include 'settings.conf'\n")
        primary.configure()
        primary.start()
        standby.clone(primary)

    def dsn(self) -> str:
        """Names both servers; libpq takes the one that accepts writes."""
        ports = ",".join(str(server.port) for server in self.servers)
        return (
            f"host=127.0.0.1,127.0.0.1 port={ports} user=admin password={self.password} dbname=postgres "
            "target_session_attrs=read-write"
        )

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        done = self.popen(program, *arguments, stdout=subprocess.PIPE)
        output, _ = done.communicate(timeout=120)
        assert done.returncode == 0, f"{program}: {output.decode(errors='replace')}"

    def popen(self, program: str, *arguments: str, stdout: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs; it is told to stop when the process that runs the tests dies."""
        account = self._account
        return subprocess.Popen(
            ("setpriv", "--pdeathsig", "QUIT", str(self.binaries / program), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            cwd=self.root,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else (),
        )

    def give(self, path: Path) -> None:
        """Let the servers' account own a file or folder."""
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def close(self) -> None:
        """Stop both servers and remove their files."""
        for server in self.servers:
            if server.process is not None:
                server.kill()
        shutil.rmtree(self.root)
