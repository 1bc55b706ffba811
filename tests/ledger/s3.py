"""A bucket that speaks as much S3 over HTTP as obstore's client asks for. Keys and signatures are not checked."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import md5
from itertools import count
from urllib.parse import parse_qs, unquote
from wsgiref.types import StartResponse, WSGIEnvironment
from xml.etree import ElementTree
from xml.sax.saxutils import escape

Answer = tuple[str, dict[str, str], bytes]

_DATE = "Sat, 01 Jan 2022 00:00:00 GMT"
_PAGE = 3


class Bucket:
    """One bucket as a WSGI application; `requests` lists what was asked of it, in order."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.status = ""
        self._numbers = count(1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        key = unquote(environ["PATH_INFO"]).lstrip("/").partition("/")[2]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        body = environ["wsgi.input"].read()
        condition = environ.get("HTTP_IF_NONE_MATCH", "")
        wanted = environ.get("HTTP_RANGE", "")
        self.requests.append(" ".join(filter(None, (method, *sorted(set(query) - {"prefix"}), condition, wanted))))
        if self.status:
            status, headers, data = self.status, dict[str, str](), b""
        else:
            status, headers, data = self.answer(method, key, query, body, condition, wanted)
        headers = {"Content-Length": str(len(data)), "Last-Modified": _DATE} | headers
        start_response(status, list(headers.items()))
        return [] if method == "HEAD" else [data]

    def answer(
        self, method: str, key: str, query: dict[str, list[str]], body: bytes, condition: str, wanted: str
    ) -> Answer:
        if method == "PUT" and "partNumber" in query:
            self.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = body
            return "200 OK", {"ETag": _tag(body)}, b""
        if method == "PUT":
            if condition == "*" and key in self.objects:
                return "412 Precondition Failed", {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            self.objects[key] = body
            return "200 OK", {"ETag": _tag(body)}, b""
        if method == "POST":
            return self._post(key, query, body)
        if method == "DELETE":
            self.objects.pop(key, None)
            self.uploads.pop(query.get("uploadId", [""])[0], None)
            return "204 No Content", {}, b""
        if "list-type" in query:
            return self._list(query)
        if key not in self.objects:
            return "404 Not Found", {}, b"<Error><Code>NoSuchKey</Code></Error>"
        data = self.objects[key]
        if wanted:
            first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
            place = {"ETag": _tag(data), "Content-Range": f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"}
            return "206 Partial Content", place, data[first : last + 1]
        return "200 OK", {"ETag": _tag(data)}, data

    def _post(self, key: str, query: dict[str, list[str]], body: bytes) -> Answer:
        if "uploads" in query:
            name = str(next(self._numbers))
            self.uploads[name] = {}
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>")
        if "uploadId" in query:
            parts = self.uploads.pop(query["uploadId"][0])
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
            tag = escape(_tag(self.objects[key]))
            return _xml(f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>")
        found = [node.text or "" for node in ElementTree.fromstring(body).iter() if node.tag.endswith("Key")]  # noqa: S314
        for name in found:
            self.objects.pop(name, None)
        done = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in found)
        return _xml(f"<DeleteResult>{done}</DeleteResult>")

    def _list(self, query: dict[str, list[str]]) -> Answer:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", [""])[0]
        names = [name for name in sorted(self.objects) if name.startswith(prefix) and name > after]
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2022-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(_tag(self.objects[name]))}</ETag><Size>{len(self.objects[name])}</Size></Contents>"
            for name in names[:_PAGE]
        )
        more = len(names) > _PAGE
        token = f"<NextContinuationToken>{escape(names[_PAGE - 1])}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"<KeyCount>{len(names[:_PAGE])}</KeyCount>{rows}</ListBucketResult>"
        )


def _xml(text: str) -> Answer:
    return "200 OK", {"Content-Type": "application/xml"}, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


def _tag(data: bytes) -> str:
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'
