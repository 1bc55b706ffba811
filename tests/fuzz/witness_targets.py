"""Readers around witnesses: requests and answers over HTTP, policy files, evidence, ML-DSA-44 keys and signatures."""

from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO, StringIO
from random import Random
from typing import Any

from ledger import (
    ConsistencyError,
    DecodeError,
    EquivocationError,
    MemoryWitnessStore,
    Note,
    Policy,
    ProofError,
    SignatureError,
    Tree,
    Witness,
    WitnessState,
    byzantine_quorum,
    leaf_hash,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_cosignature,
)
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.cosign import cosign, cosigner
from ledger.evidence import Equivocation, parse_equivocation
from ledger.mldsa import MlDsaKey
from ledger.note import MLDSA44, parse_signature_line
from ledger.policy import read_policy
from ledger.policy_file import TrustedLog, TrustedWitness, TrustPolicy, WitnessGroup, parse_policy_file
from ledger.web.client import HttpClient, RemoteError, Response
from ledger.web.witness import AddCheckpoint, RemoteWitness, witness_app
from tests.fuzz.ledger_targets import NOW, SEQUENCER, bytes_of, other_lines, text_of
from tests.fuzz.mutation import altered
from tests.fuzz.target import Target
from tests.ledger.federation import NAMES, ORIGIN, key_of

HONEST = Tree([leaf_hash(b"%d" % i) for i in range(40)])
FORK = Tree([leaf_hash(b"%d" % i) for i in range(8)] + [leaf_hash(b"other")] * 32)
BEFORE = 16  # what the witness has cosigned
MLDSA = MlDsaKey.from_seed(bytes(32))
LOG = cosigner(ORIGIN, MLDSA)
MEMBER = cosigner(NAMES[0], key_of(NAMES[0]))


def note_of(tree: Tree, size: int) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, tree.root(size)), key_of("sequencer"))


def request_of(tree: Tree, old: int, size: int) -> AddCheckpoint:
    proof = tree.consistency_proof(old, size) if 0 < old < size else []
    return AddCheckpoint(old, tuple(proof), note_of(tree, size))


# A request over HTTP


def ask_witness(data: bytes) -> None:
    """The application answers anything, and records only what extends the honest log."""
    store = MemoryWitnessStore()
    witness = Witness(NAMES[0], key_of(NAMES[0]), SEQUENCER, store)
    store.compare_and_swap(None, WitnessState(BEFORE, HONEST.root(BEFORE), note_of(HONEST, BEFORE)))
    environ = {
        "PATH_INFO": "/add-checkpoint", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": BytesIO(data), "wsgi.errors": StringIO(),
    }  # fmt: skip
    statuses: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
        statuses.append(status[:3])
        return lambda written: None

    body = b"".join(witness_app({ORIGIN: witness}, lambda: NOW)(environ, start))
    state = store.load()
    assert state is not None
    if statuses != ["200"]:
        assert statuses[0] in ("400", "403", "404", "409", "413", "422")
        assert state.size == BEFORE
        raise DecodeError(statuses[0])
    assert state.size >= BEFORE
    assert state.root == HONEST.root(state.size)
    found = Note(parse_note(state.note).text, (parse_signature_line(body.decode()),))
    assert verify_cosignature(found, witness.verifier) is not None


def request_seeds() -> Sequence[bytes]:
    return [request_of(HONEST, BEFORE, size).encode() for size in (BEFORE, 17, 32, 40)]


def other_request(rng: Random, data: bytes) -> bytes:
    """A well-formed request for one of the two histories, or one with its lines changed."""
    if rng.random() < 0.5:
        return other_lines(rng, data)
    tree, old, size = rng.choice((HONEST, FORK)), rng.choice((0, 8, 15, BEFORE, 17, 40)), rng.randrange(1, 41)
    proof = tree.consistency_proof(old, size) if 0 < old < size else [rng.randbytes(32)] * rng.choice((0, 0, 1, 63))
    return AddCheckpoint(old, tuple(proof), note_of(rng.choice((tree, tree, FORK)), size)).encode()


# An answer over HTTP

STATUSES = (200, 400, 403, 404, 409, 422, 500, 302)
TYPES = ("text/plain", "text/x.tlog.size", "text/x.equivocation", "")


class Answering(HttpClient):
    """A client whose server answers what it is told."""

    def __init__(self, answer: Response) -> None:
        super().__init__("http://witness.example")
        self._answer = answer

    def post(self, path: str, body: bytes, *, limit: int) -> Response:
        return self._answer


def hear_witness(data: bytes) -> None:
    """One byte for the status, one for the type, then the body."""
    status, kind = STATUSES[data[0] % len(STATUSES)] if data else 500, data[1] % len(TYPES) if len(data) > 1 else 0
    remote = RemoteWitness(Answering(Response(status, TYPES[kind], data[2:])), MEMBER)
    try:
        line = remote.add_checkpoint(0, [], note_of(HONEST, 16), now=NOW)
    except EquivocationError as exc:
        key = parse_equivocation(data[2:]).log_key
        if Equivocation(key, *exc.evidence).verify().origin == ORIGIN:
            raise
        raise AssertionError("evidence against another log") from exc
    found = Note(parse_note(note_of(HONEST, 16)).text, (parse_signature_line(line),))
    assert verify_cosignature(found, MEMBER) is not None


def answer_seeds() -> Sequence[bytes]:
    ours, others = (bytes_of(cosign(note_of(HONEST, 16), name, key_of(name), now=NOW)) for name in NAMES[:2])
    return [b"\0\0" + body for body in (ours, others + ours, ours + others)]


def other_answer(rng: Random, data: bytes) -> bytes:
    """Other lines, or another kind of answer that is well-formed or nearly so."""
    match rng.randrange(4):
        case 0:
            return b"\x04\x01" + rng.choice((b"%d\n", b"%d", b"0%d\n", b"-%d\n")) % rng.choice((0, 16, 2**63, 10**30))
        case 1:
            return b"\x04\x02" + other_evidence(rng, data)
        case _:
            return data[:2] + other_lines(rng, data[2:])


# Policy files


def read_policies(data: bytes) -> None:
    policy = parse_policy_file(data)
    assert parse_policy_file(policy.encode()) == policy
    try:
        federation = read_policy(data)
    except DecodeError:
        return  # a policy, though none of a federation
    assert federation.needed >= byzantine_quorum(len(federation.witnesses))
    assert read_policy(federation.to_file()) == federation


@cache
def policy_seeds() -> Sequence[bytes]:
    keys = [cosigner(name, key_of(name)) for name in NAMES]
    witnesses = tuple(TrustedWitness(f"w{i}", key, "https://w.example") for i, key in enumerate(keys))
    nested = TrustPolicy(
        (TrustedLog(SEQUENCER, "https://log.example"), TrustedLog(LOG)),
        witnesses,
        (WitnessGroup("g", 2, ("w0", "w1", "w2")), WitnessGroup("h", 2, ("g", "w3"))),
        "h",
    )
    flat = Policy(ORIGIN, SEQUENCER, (*keys[:3], cosigner("pq", MLDSA)))
    comments = b"# \xff a comment\n \t\n\tquorum\tnone \n"
    return [nested.encode(), flat.to_file(), flat.to_file({ORIGIN: "https://log.example"}), comments]


# Evidence


def read_evidence(data: bytes) -> None:
    evidence = parse_equivocation(data)
    assert evidence.encode() == data
    proven = evidence.verify()
    assert proven.roots[0] != proven.roots[1]


def evidence_seeds() -> Sequence[bytes]:
    pairs = ((HONEST, 16, FORK, 16), (HONEST, 40, FORK, 40))
    return [Equivocation(SEQUENCER, note_of(a, i), note_of(b, j)).encode() for a, i, b, j in pairs]


def other_evidence(rng: Random, data: bytes) -> bytes:
    """Two notes under good signatures that contradict or do not, or a change to one of them behind a right length."""
    notes = [note_of(rng.choice((HONEST, FORK)), rng.choice((1, 9, 16))) for _ in range(2)]
    if rng.random() < 0.5:
        notes[rng.randrange(2)] = other_lines(rng, notes[0])[:1000] or b"\n"
    return Equivocation(rng.choice((SEQUENCER, SEQUENCER, LOG)), *notes).encode()


# ML-DSA-44


def read_mldsa_key(data: bytes) -> None:
    key = parse_vkey(text_of(data))
    assert bytes_of(key.to_vkey()) == data
    assert len(key.public) == (1312 if key.kind == MLDSA44 else 32)


def read_mldsa_checkpoint(data: bytes) -> None:
    checkpoint = verify_checkpoint(data, LOG)
    assert checkpoint == Checkpoint(ORIGIN, 16, HONEST.root(16))  # nothing else was ever signed by this key


@cache
def mldsa_seeds() -> Sequence[bytes]:
    plain = note_of(HONEST, 16)
    line = cosign(plain, ORIGIN, MLDSA, now=0)
    return [Note(parse_note(plain).text, (parse_signature_line(line),)).encode(), plain + bytes_of(line)]


REFUSED_ANSWERS: tuple[type[Exception], ...] = (
    DecodeError, SignatureError, ConsistencyError, EquivocationError, RemoteError,
)  # fmt: skip
_ANY: dict[str, Any] = {"slack": 1 << 18}
WITNESS_TARGETS = (
    Target("witness.request", ask_witness, (DecodeError,), request_seeds, other_request, share=0.5, **_ANY),
    Target("witness.answer", hear_witness, REFUSED_ANSWERS, answer_seeds, other_answer, share=0.5, multiple=40, **_ANY),
    Target("ledger.policy-file", read_policies, (DecodeError,), policy_seeds, other_lines, multiple=80, **_ANY),
    Target(
        "ledger.evidence", read_evidence, (DecodeError, SignatureError, ProofError), evidence_seeds, other_evidence,
        share=0.5, **_ANY,
    ),
    Target("ledger.mldsa-vkey", read_mldsa_key, (DecodeError,), lambda: [bytes_of(LOG.to_vkey())], altered),
    Target(
        "ledger.mldsa-checkpoint", read_mldsa_checkpoint, (DecodeError, SignatureError), mldsa_seeds, other_lines,
        share=0.5, **_ANY,
    ),
)  # fmt: skip
