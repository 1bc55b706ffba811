"""Blobs in an object store: what goes over the wire, and what is made of a store that lies, fails or is away."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore")
pytest.importorskip("waitress")

from obstore.store import LocalStore, MemoryStore

from ledger import BlobError, StoreError, blob_digest
from ledger.object_blobs import ObjectBlobs
from ledger.web.server import running
from tests.ledger.s3 import Answer, Bucket

DATA = b"some bytes"
DIGEST = blob_digest(DATA)
KEY = f"{DIGEST.hex()[:2]}/{DIGEST.hex()[2:4]}/{DIGEST.hex()}"


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def blobs(bucket: Bucket) -> Iterator[ObjectBlobs]:
    with running(bucket) as server:
        yield at(server.url)


def at(url: str, **settings: str) -> ObjectBlobs:
    config = {"endpoint": url, "region": "nowhere", "access_key_id": "a", "secret_access_key": "hidden"} | settings
    return ObjectBlobs.at("s3://bucket", config=config)


def test_what_goes_over_the_wire(blobs: ObjectBlobs, bucket: Bucket) -> None:
    def asked() -> list[str]:
        made, bucket.requests[:] = list(bucket.requests), []
        return made

    blobs.put(DATA)
    assert (asked(), bucket.objects) == (["PUT *"], {KEY: DATA})
    blobs.put(DATA)
    assert asked() == ["PUT *", "GET"]  # refused by the store, then what stands there is checked
    assert blobs.has(DIGEST)
    assert asked() == ["HEAD"]
    assert blobs.get_range(DIGEST, 2, 3, size=10) == DATA[2:5]
    assert asked() == ["HEAD", "GET bytes=2-4"]
    for i in range(8):
        blobs.put(bytes([i]))
    asked()
    assert len(list(blobs.digests())) == 9
    assert asked() == ["GET list-type", *["GET continuation-token list-type"] * 2]
    blobs.delete(DIGEST)
    assert asked() == ["POST delete"]
    assert KEY not in bucket.objects
    large = bytes(9 << 20)
    blobs.put(large)
    assert sorted(asked()) == ["HEAD", "POST uploadId", "POST uploads", *["PUT partNumber uploadId"] * 2]
    blobs.put(large)
    assert asked() == ["HEAD", "GET"]


def test_a_damaged_object_is_named_and_never_overwritten(blobs: ObjectBlobs, bucket: Bucket) -> None:
    for data, words in ((b"other byte", "its bytes are not"), (b"short", "5 bytes, not 10"), (bytes(99), "99 bytes")):
        bucket.objects[KEY] = data
        with pytest.raises(BlobError, match=words):
            blobs.get(DIGEST, size=10)
        with pytest.raises(BlobError, match=words):
            blobs.put(DATA)
        assert bucket.objects[KEY] == data
    large = bytes(9 << 20)
    name = blob_digest(large).hex()
    bucket.objects[f"{name[:2]}/{name[2:4]}/{name}"] = b"\x01" + large[1:]
    with pytest.raises(BlobError, match="its bytes are not"):
        blobs.put(large)


def test_other_objects_are_passed_over(blobs: ObjectBlobs, bucket: Bucket) -> None:
    blobs.put(DATA)
    for name in ("ab/cd/notes", bytes(32).hex(), f"ff/ff/{DIGEST.hex()}", KEY.upper()):
        bucket.objects[name] = b""
    assert list(blobs.digests()) == [DIGEST]


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Internal Server Error", "302 Found"])
def test_a_store_that_fails_is_said_without_its_keys(blobs: ObjectBlobs, bucket: Bucket, status: str) -> None:
    bucket.status = status
    acts: list[tuple[str, Callable[[], object]]] = [
        ("was not written", lambda: blobs.put(DATA)),
        ("cannot be read", lambda: blobs.get_range(DIGEST, 0, 1, size=10)),
        ("cannot be read", lambda: blobs.get(DIGEST, size=10)),
        ("cannot be read", lambda: blobs.has(DIGEST)),
        ("cannot be listed", lambda: blobs.digests()),
        ("cannot be deleted", lambda: blobs.delete(DIGEST)),
    ]
    for words, act in acts:
        with pytest.raises(StoreError, match=words) as caught:
            act()
        assert "hidden" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_store_that_is_away_is_said() -> None:
    with running(Bucket()) as server:
        url = server.url
    with pytest.raises(StoreError, match="the object store was not written"):
        at(url).put(DATA)


class _Lying(Bucket):
    """Answers for a blob with other bytes than its header says, or than were asked for."""

    lie = b""

    def answer(
        self, method: str, key: str, query: dict[str, list[str]], body: bytes, condition: str, wanted: str
    ) -> Answer:
        status, headers, data = super().answer(method, key, query, body, condition, wanted)
        if method == "GET" and self.lie:
            data = self.lie
        return status, headers, data


def test_a_range_of_another_length_is_refused() -> None:
    bucket = _Lying()
    with running(bucket) as server:
        blobs = at(server.url)
        blobs.put(DATA)
        bucket.lie = b"wxyz"
        with pytest.raises((StoreError, BlobError)):
            blobs.get_range(DIGEST, 2, 3, size=10)
        with pytest.raises(BlobError, match="4 bytes, not 10"):
            blobs.get(DIGEST, size=10)


def test_no_error_shows_what_an_address_holds() -> None:
    secret = "hunter2"
    for url in (f"s3x://key:{secret}@bucket", f"nothing://key:a@{secret}/b@c", f"what://host/?signature={secret}"):
        with pytest.raises(ValueError, match="is not an object store's address") as wrong:
            ObjectBlobs.at(url)
        assert secret not in "".join(traceback.format_exception(wrong.value))
        assert wrong.value.__context__ is None
    with pytest.raises(ValueError, match="is not an object store's address") as wrong:
        ObjectBlobs.at(f"s3x://{secret}", config={"secret_access_key": secret})
    assert secret in str(wrong.value).partition(": ")[0]
    assert secret not in str(wrong.value).partition(": ")[2]
    with running(Bucket()) as server:
        address = server.url.replace("//", f"//key:{secret}@")
    with pytest.raises(StoreError, match="the object store cannot be read") as failed:
        at(address).get(DIGEST, size=10)
    assert secret not in "".join(traceback.format_exception(failed.value))


def test_a_listing_has_an_end(blobs: ObjectBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(9):
        blobs.put(bytes([i]))
    monkeypatch.setattr("ledger.object_blobs.MOST_LISTED", 9)
    assert len(list(blobs.digests())) == 9
    monkeypatch.setattr("ledger.object_blobs.MOST_LISTED", 8)
    with pytest.raises(StoreError, match="lists more than 8 objects"):
        blobs.digests()


def test_the_caller_is_told() -> None:
    with pytest.raises(ValueError, match="does not sync local files"):
        ObjectBlobs(LocalStore())
    for prefix in ("a", "/", "/a/", "a//", "../", "a b/", "a/\n"):
        with pytest.raises(ValueError, match="is not a prefix"):
            ObjectBlobs(MemoryStore(), prefix=prefix)
    for url in ("file:///", "ftp://somewhere", "nothing"):
        with pytest.raises(ValueError):
            ObjectBlobs.at(url)
    with pytest.raises(ValueError, match="nonsense"):
        at("http://127.0.0.1:1", nonsense="1")


def test_prefixes_are_apart() -> None:
    store = MemoryStore()
    one, other = ObjectBlobs(store, prefix="one/"), ObjectBlobs(store, prefix="other/")
    one.put(DATA)
    assert not other.has(DIGEST)
    assert (list(one.digests()), list(other.digests())) == ([DIGEST], [])


def test_a_full_disk_under_the_spool_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blobs = ObjectBlobs(MemoryStore())
    with open("/dev/full", "w+b", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda: full)
        with pytest.raises(StoreError, match="temporary file failed"):
            blobs.put(DATA)
    assert list(blobs.digests()) == []
