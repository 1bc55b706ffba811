"""Every change to a public folder is found and named, each by its own message. Nobody's private key was used here."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger import COSIGNATURE_V1, DirectoryBlobs, Note, SigningKey, VerifierKey, parse_entry
from ledger.note import sign_note
from protocols.tckks.wire import WireKind
from secure_bfl.auditor import Auditor
from secure_bfl.layout import PublicFolder
from secure_bfl.messages import DecryptionRequest, Kind

from .commands import call, rejected, verify
from .conftest import FinishedRun
from .published import (
    bundle_path,
    entries_of,
    flip,
    note_of,
    tile_path,
    write_entries,
    write_hashes,
    write_note,
    write_root,
)

CHANGED = "its bytes are not those its name promises: a byte was changed"


def blobs_by_kind(folder: PublicFolder) -> dict[str, list[Path]]:
    """The blob files, by what the ledger uses them for."""
    transcript = Auditor(folder).verify(with_report=False).transcript
    assert transcript is not None
    replay, kinds = transcript.replay, dict[str, set[bytes]]()
    kinds["public part"] = {p.part for commit in replay.ceremony.commits.values() for p in commit.parts}
    kinds["deliveries"] = {body.deliveries for _, body in replay.ceremony.delivered.values()}
    kinds["dry-run answer"] = {d for same in replay.ceremony.answered().values() for d in same}
    kinds["ciphertext"] = {c.opened for state in replay.rounds for _, c in state.commits.values()}
    kinds["share"] = {a.answer for state in replay.rounds for a in state.answers.values()}
    kinds["aggregate"] = {s.aggregate.ciphertext for s in replay.rounds if s.aggregate}
    kinds["model"] = {s.result.model for s in replay.rounds if s.result} | {s.model for s in replay.rounds}
    return {kind: [blob_path(folder, digest) for digest in sorted(digests)] for kind, digests in kinds.items()}


def blob_path(folder: PublicFolder, digest: bytes) -> Path:
    name = digest.hex()
    return folder.blobs / name[:2] / name[2:4] / name


PIECES = 6  # of a key among 4 members of whom 3 decrypt
KINDS = {
    "public part": (PIECES, "key: blob {} is corrupt"),
    "deliveries": (4, "withholds its deliveries: blob {} is corrupt"),
    "dry-run answer": (PIECES, "withholds an answer to the dry run: blob {} is corrupt"),
    "ciphertext": (8, "rounds: blob {} is corrupt"),
    "share": (6, "rounds: blob {} is corrupt"),
    "aggregate": (2, "rounds: blob {} is corrupt"),
    "model": (3, "rounds: blob {} is corrupt"),
}


def test_the_kinds_are_all_blobs_there_are(finished: FinishedRun) -> None:
    folder = PublicFolder.of(finished.out)
    paths = [path for paths in blobs_by_kind(folder).values() for path in paths]
    assert sorted(paths) == sorted(path for path in folder.blobs.rglob("*") if path.is_file())
    assert set(KINDS) == set(blobs_by_kind(folder))
    assert len(WireKind) == 3  # public part, ciphertext, partial decryption


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_in_any_blob(public: PublicFolder, kind: str) -> None:
    paths = blobs_by_kind(public)[kind]
    count, used = KINDS[kind]
    assert len(paths) == count
    for path in paths:
        data = path.read_bytes()
        flip(path)
        errors = rejected(public.path)
        assert f"blob {path.name}: {CHANGED}" in errors
        assert any(used.format(path.name) in error for error in errors), errors
        path.write_bytes(data)
    assert verify(public.path).code == 0


@pytest.mark.parametrize("at", [0, 12, -1])
def test_a_flipped_byte_anywhere_in_a_blob(public: PublicFolder, at: int) -> None:
    path = blobs_by_kind(public)["ciphertext"][0]
    flip(path, at=at)
    assert f"blob {path.name}: {CHANGED}" in rejected(public.path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_blob(public: PublicFolder, kind: str) -> None:
    paths = blobs_by_kind(public)[kind]
    for path in paths if kind == "model" else paths[:1]:
        aside = path.rename(public.path / "aside")
        errors = rejected(public.path)
        assert any(f"blob {path.name} is missing" in error for error in errors), errors
        aside.rename(path)


def test_a_blob_cut_short_and_one_that_grew(public: PublicFolder) -> None:
    path = blobs_by_kind(public)["share"][0]
    data = path.read_bytes()
    for changed, told in ((data[:-1], f"corrupt: {len(data) - 1} bytes, not {len(data)}"), (data + b"x", "more than")):
        path.write_bytes(changed)
        errors = rejected(public.path)
        assert f"blob {path.name}: {CHANGED}" in errors
        assert any(told in error for error in errors), errors


def test_two_blobs_swapped(public: PublicFolder) -> None:
    one, other = blobs_by_kind(public)["ciphertext"][:2]
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    errors = rejected(public.path)
    assert {f"blob {one.name}: {CHANGED}", f"blob {other.name}: {CHANGED}"} <= set(errors)


def symlink(path: Path) -> None:
    path.symlink_to(path.with_name("aside"))


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("replace", [symlink, fifo])
def test_a_blob_that_is_no_regular_file(public: PublicFolder, replace: Callable[[Path], None]) -> None:
    path = blobs_by_kind(public)["ciphertext"][0]
    data = path.read_bytes()
    path.unlink()
    path.with_name("aside").write_bytes(data)
    replace(path)
    assert f"blob {path.name}: is not a regular file" in rejected(public.path)


def test_a_folder_of_blobs_behind_a_link(public: PublicFolder) -> None:
    path = blobs_by_kind(public)["ciphertext"][0]
    top = public.blobs / path.name[:2]
    top.rename(public.path / "elsewhere")
    top.symlink_to(public.path / "elsewhere")
    assert rejected(public.path) == [f"blob {top.name}: is not a regular file"]


def test_a_huge_sparse_file_is_not_read(public: PublicFolder) -> None:
    path = blobs_by_kind(public)["ciphertext"][0]
    os.truncate(path, 1 << 40)
    extra = public.blobs / "huge"
    extra.touch()
    os.truncate(extra, 1 << 40)
    errors = rejected(public.path)
    assert f"blob {path.name}: has {1 << 40} bytes, more than a blob may have" in errors
    assert f"blob huge: has {1 << 40} bytes, more than a blob may have" in errors
    assert any("corrupt or unreadable" in error and "more than the" in error for error in errors)


def test_an_extra_file_among_the_blobs(public: PublicFolder) -> None:
    (public.blobs / "readme.txt").write_text("hello")
    assert rejected(public.path) == [f"blob readme.txt: {CHANGED}"]
    (public.blobs / "readme.txt").unlink()
    path = blobs_by_kind(public)["model"][0]
    misplaced = public.blobs / path.name
    misplaced.write_bytes(path.read_bytes())
    assert rejected(public.path) == [f"blob {path.name}: {CHANGED}"]


def test_a_blob_that_nobody_names_is_only_noted(public: PublicFolder) -> None:
    digest = DirectoryBlobs(public.blobs).put(b"unasked")
    crumb = blob_path(public, digest).with_name(f".{digest.hex()}.1-2-3.tmp")
    crumb.write_bytes(b"half a blo")
    answer = verify(public.path)
    assert answer.code == 0
    assert answer.notes() == [
        f"blob {crumb.name}: is a temporary file that a crash left; nothing reads it",
        f"blob {digest.hex()}: is named by no entry; nothing reads it",
    ]


# The published ledger.


def some_places(size: int) -> list[int]:
    return [0, 1, size // 2, size - 1]


def test_an_entry_changed(public: PublicFolder) -> None:
    entries = entries_of(public)
    for index in range(0, len(entries), 3):
        changed = bytearray(entries[index])
        changed[len(changed) // 2] ^= 1
        write_entries(public, len(entries), [*entries[:index], bytes(changed), *entries[index + 1 :]])
        assert rejected(public.path)[0].startswith(f"ledger: entry {index} was changed: in tile/entries/000.p/")


def test_an_entry_removed(public: PublicFolder) -> None:
    entries = entries_of(public)
    for index in some_places(len(entries)):
        write_entries(public, len(entries), entries[:index] + entries[index + 1 :])
        assert rejected(public.path)[0].startswith(f"ledger: entry {index} was removed: ")


def test_an_entry_inserted(public: PublicFolder) -> None:
    entries = entries_of(public)
    write_entries(public, len(entries), [*entries[:7], entries[7], *entries[7:]])
    assert rejected(public.path)[0].startswith("ledger: entry 8 was inserted: ")


def test_entries_reordered(public: PublicFolder) -> None:
    entries = entries_of(public)
    write_entries(public, len(entries), [entries[0], entries[2], entries[1], *entries[3:]])
    assert rejected(public.path)[0].startswith("ledger: entry 1 is out of order: ")


def altered(entries: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """The three ways to rewrite history that keep the number of entries."""
    changed = bytearray(entries[20])
    changed[-1] ^= 1
    yield "changed", [*entries[:20], bytes(changed), *entries[21:]]
    yield "reordered", [*entries[:20], entries[21], entries[20], *entries[22:]]
    yield "removed", [*entries[:20], *entries[21:], entries[-1]]


def test_entries_and_tile_changed_together_fail_at_the_root(public: PublicFolder) -> None:
    entries = entries_of(public)
    for _, other in altered(entries):
        write_entries(public, len(entries), other)
        write_hashes(public, len(entries), other)
        assert rejected(public.path) == [
            f"ledger: the {len(entries)} published entries do not have the root the checkpoint states: "
            "entries and hashes were changed together, or the checkpoint is another log's",
        ]


def test_entries_tile_and_root_changed_together_fail_at_the_signature(public: PublicFolder) -> None:
    entries = entries_of(public)
    origin = note_of(public).text.split("\n")[0]
    for _, other in altered(entries):
        write_entries(public, len(entries), other)
        write_hashes(public, len(entries), other)
        write_root(public, other)
        errors = rejected(public.path)
        assert any(e.startswith(f"ledger: the note's signature by {origin} is bad") for e in errors), errors


def test_a_hash_of_the_tile_changed(public: PublicFolder) -> None:
    size = len(entries_of(public))
    flip(tile_path(public, size), at=5 * 32)
    assert rejected(public.path)[0].startswith("ledger: entry 5 was changed: ")


@pytest.mark.parametrize("which", [bundle_path, tile_path])
def test_a_missing_ledger_file(public: PublicFolder, which: Callable[[PublicFolder, int], Path]) -> None:
    path = which(public, len(entries_of(public)))
    path.unlink()
    name = path.relative_to(public.ledger).as_posix()
    assert rejected(public.path) == [f"ledger: {name} is missing"]


@pytest.mark.parametrize("which", [bundle_path, tile_path])
def test_a_ledger_file_that_is_hostile(public: PublicFolder, which: Callable[[PublicFolder, int], Path]) -> None:
    path = which(public, len(entries_of(public)))
    path.unlink()
    os.mkfifo(path)
    assert "is not a regular file" in rejected(public.path)[0]
    path.unlink()
    path.touch()
    os.truncate(path, 1 << 40)
    assert f"has {1 << 40} bytes, more than the" in rejected(public.path)[0]


def test_a_run_cut_short_by_an_older_checkpoint(public: PublicFolder) -> None:
    entries = entries_of(public)
    notes = []
    for data in entries:
        entry = parse_entry(data)
        if entry.kind == Kind.DECRYPTION_REQUEST:
            notes.append(DecryptionRequest.from_value(entry.body).certificate)
    assert len(notes) == 2
    size = int(notes[1].split(b"\n")[1])
    (public.ledger / "checkpoint").write_bytes(notes[1])
    write_entries(public, size, entries[:size])
    write_hashes(public, size, entries[:size])
    errors = rejected(public.path)
    assert errors == ["round 2: is not finished", "run: 1 of 2 planned rounds are finished"]
    size = int(notes[0].split(b"\n")[1])
    (public.ledger / "checkpoint").write_bytes(notes[0])
    write_entries(public, size, entries[:size])
    write_hashes(public, size, entries[:size])
    assert rejected(public.path) == ["round 1: is not finished", "run: 0 of 2 planned rounds are finished"]


# The certificate.


def test_a_checkpoint_with_too_few_cosignatures(public: PublicFolder) -> None:
    note = note_of(public)
    assert [s.name for s in note.signatures[1:]] == [f"member-{i}" for i in range(1, 5)]
    write_note(public, Note(note.text, note.signatures[:4]))
    assert rejected(public.path)[0] == "ledger: a certificate needs 4 of 4 cosignatures, has 3; missing: member-4"
    write_note(public, Note(note.text, note.signatures[:3]))
    assert rejected(public.path)[0] == (
        "ledger: a certificate needs 4 of 4 cosignatures, has 2; missing: member-3, member-4"
    )


def test_a_checkpoint_that_nobody_cosigned(public: PublicFolder) -> None:
    note = note_of(public)
    write_note(public, Note(note.text, note.signatures[:1]))
    assert rejected(public.path) == [
        "ledger: a certificate needs 4 of 4 cosignatures, has 0; missing: member-1, member-2, member-3, member-4",
    ]


def test_a_checkpoint_that_the_log_did_not_sign(public: PublicFolder) -> None:
    note = note_of(public)
    origin = note.signatures[0].name
    write_note(public, Note(note.text, note.signatures[1:]))
    assert rejected(public.path) == [f"ledger: the note is not signed by {origin}"]
    stranger = sign_note(note.text, origin, SigningKey.from_seed(bytes(32)))
    write_note(public, Note(note.text, (*stranger.signatures, *note.signatures[1:])))
    assert rejected(public.path) == [f"ledger: the note is not signed by {origin}"]


def test_a_checkpoint_whose_signatures_are_bad(public: PublicFolder) -> None:
    note = note_of(public)
    for place, signer in enumerate(s.name for s in note.signatures):
        parts = list(note.signatures)
        broken = bytearray(parts[place].signature)
        broken[-1] ^= 1
        parts[place] = type(parts[place])(signer, parts[place].key_id, bytes(broken))
        write_note(public, Note(note.text, tuple(parts)))
        errors = rejected(public.path)
        assert any(signer in e and "bad" in e for e in errors), errors


def test_cosignatures_by_strangers_under_the_members_names(public: PublicFolder) -> None:
    note = note_of(public)
    stranger = SigningKey.from_seed(bytes(32))
    forged = []
    for signature in note.signatures[1:]:
        key = VerifierKey(signature.name, COSIGNATURE_V1, stranger.public)
        forged.append(type(signature)(signature.name, key.key_id, signature.signature))
    write_note(public, Note(note.text, (note.signatures[0], *forged)))
    assert "a certificate needs 4 of 4 cosignatures, has 0" in rejected(public.path)[0]


def test_checkpoint_missing_empty_or_garbage(public: PublicFolder) -> None:
    path = public.ledger / "checkpoint"
    for data, told in ((b"", "a note is a text"), (b"\xff" * 100, "a note is a text"), (b"x" * (1 << 21), "more than")):
        path.write_bytes(data)
        assert told in rejected(public.path)[0]
    path.unlink()
    assert rejected(public.path) == [f"ledger: {public.ledger} holds no checkpoint"]


# Folders.


def test_an_empty_folder_and_none_at_all(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        nothing = folder / "public"
        told = [
            f"folder: {nothing} is not there: nothing was published, or this is not a run's folder",
            f"ledger: {nothing / 'ledger'} holds no checkpoint",
        ]
        assert rejected(folder) == told
        answer = call("verify", folder)
        assert (answer.code, answer.out) == (1, "".join(f"error: {line}\n" for line in told) + "not verified\n")
        report = call("report", folder)
        assert (report.code, report.out) == (8, "")
        assert f"{folder} holds no run: there is no ledger in it" in report.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_everything_is_a_link(public: PublicFolder) -> None:
    public.anchors.mkdir()
    for path in public.parts:
        aside = path.rename(public.path.parent / path.name)
        path.symlink_to(aside)
    told = "is a link; a public folder holds plain files and folders only"
    assert rejected(public.path) == [f"{name}: {told}" for name in sorted(path.name for path in public.parts)]


def test_a_file_that_does_not_belong_there_is_only_noted(public: PublicFolder) -> None:
    (public.path / "readme\x1b[31m.txt").write_text("hello")
    answer = verify(public.path)
    assert answer.code == 0
    assert answer.notes() == ["'readme\\x1b[31m.txt': does not belong here; nothing reads it"]


def test_a_public_folder_within_a_public_folder_does_not_stand_in_for_it(
    public: PublicFolder, finished: FinishedRun
) -> None:
    shutil.copytree(finished.out / "public", public.path / "public")
    flip(public.model)
    assert rejected(public.path) == ["model.safetensors: is not the model that follows from the ledger"]


def test_blobs_kept_too_deep(public: PublicFolder) -> None:
    deep = public.blobs / "00" / "00" / "00" / "00"
    deep.mkdir(parents=True)
    assert rejected(public.path) == ["blob folder 00: is deeper than blobs are kept"]


def test_a_pinned_genesis_is_64_hexadecimal_digits(finished: FinishedRun) -> None:
    for wrong, told in (("xyz", "expected 64 hexadecimal digits"), ("ab", "expected 64 hexadecimal digits")):
        answer = verify(finished.out, "--genesis", wrong)
        assert answer.code == 2
        assert told in answer.err
