"""The log and its witnesses over HTTP: WSGI applications, the server that runs them, and the client that asks them.

Every application is a plain WSGI callable (PEP 3333), so that it also runs under any other WSGI server.
"""

from .client import HttpClient, RemoteError, Response

__all__ = ["HttpClient", "RemoteError", "Response"]
