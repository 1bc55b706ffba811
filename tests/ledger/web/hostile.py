"""A server that answers every request with whatever bytes a test has it send, at whatever pace."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Behaviour = Callable[[socket.socket, threading.Event], None]


@contextmanager
def answering(behave: Behaviour, *, tls: ssl.SSLContext | None = None, delay: float = 0.0) -> Iterator[str]:
    """The address of a server that behaves so on every request, until the block ends and sets the event.

    With `tls` it speaks TLS, whose handshake it begins `delay` seconds late.
    """
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            if tls is not None:
                stop.wait(delay)
                connection = tls.wrap_socket(connection, server_side=True)
            while not stop.is_set() and connection.recv(1 << 20):
                behave(connection, stop)
        connection.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"{'http' if tls is None else 'https'}://localhost:{listener.getsockname()[1]}"
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)


def once(data: bytes) -> Behaviour:
    """Send this, and keep the connection."""
    return lambda connection, _: connection.sendall(data)


def dripping(head: bytes, drop: bytes, *, every: float = 0.02) -> Behaviour:
    """Send the head, and then a drop again and again: a byte comes before every wait for one runs out."""

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(head)
        while not stop.wait(every):
            connection.sendall(drop)

    return behave


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "the body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "a body up to the end": dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "an answer on a connection it gives up": dripping(b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "a header": dripping(b"HTTP/1.1 200 OK\r\nA: ", b"x"),
    "100 Continue": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks": dripping(CHUNKED, b"1\r\nx\r\n"),
    "the size of a chunk": dripping(CHUNKED, b"0"),
    "trailers": dripping(CHUNKED + b"0\r\n", b"a: b\r\n"),
    "nothing": lambda _, stop: stop.wait() and None,
}
BAD_CHUNKS = (b"-1", b"-2", b"-0", b"+5", b"0x5", b"1_0", b"", b";", b" 5", b"five", b"f" * 16, b"0" * 2000)
