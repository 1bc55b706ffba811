"""keygen, dealing and handover."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from protocols.arrays import UInt64Array
from protocols.ring import ring
from protocols.tckks import (
    PieceKey,
    PieceSeed,
    ReplicatedSharing,
    ShamirSharing,
    Sharing,
    check_piece,
    commitment,
    join,
    seed_commitment,
)
from protocols.tckks.dealing import Dealing, join_piece
from protocols.tckks.degree import (
    DegreeProof,
    PublishedDealing,
    check_subshare,
    convicted,
    degree_challenge,
    fold_weights,
)
from protocols.tckks.founding import founding_dealing
from protocols.tckks.handover import Handover, agree, subdeal
from protocols.tckks.keygen import _expand, centred_binomial, ternary
from protocols.tckks.shamir import lagrange
from protocols.tckks.subshare import expand, masked
from protocols.tckks.wire import WireKind, decode
from tests.vectors.generators.example import EXAMPLE, Federation, Json, bytes_of, failure, replicated, sha, summary


def keygen_json() -> Json:
    made = replicated()
    ceremony, degree = made.ceremony, made.ceremony.suite.ring_degree
    pieces = []
    for piece, (key, part) in made.derived.items():
        seed = made.seeds[piece]
        primes = ceremony.suite.key_primes
        b = decode(WireKind.PUBLIC_PART, part, primes, polynomials=1, degree=degree, context=ceremony.identity)
        pieces.append(
            {
                "piece": piece,
                "dealer": ceremony.sharing.dealer(piece),
                "seed": seed.reveal().hex(),
                "seed_commitment": seed_commitment(ceremony, seed).hex(),
                "ternary": summary(ternary(_expand(ceremony, seed, b"ternary", degree + degree // 8 + 256), degree)),
                "error": summary(centred_binomial(_expand(ceremony, seed, b"error", 8 * degree))),
                "noise_key": key.noise_key.hex(),
                "secret_ntt": summary(key.secret_ntt),
                "b": summary(b[0]),
                "commitment": commitment(part).hex(),
            }
        )
    flipped = bytearray(made.parts[1])
    flipped[1000] ^= 1
    wrong = bytes_of("wrong seed")
    return {
        "suite": ceremony.suite.name,
        "members": 3,
        "threshold": 2,
        "position": ceremony.position.hex(),
        "identity": ceremony.identity.hex(),
        "common_polynomial": summary(ceremony.common_polynomial()),
        "dealers": [{"member": m, "rand": made.rand(m).hex()} for m in (1, 2, 3)],
        "pieces": pieces,
        "joint_b": summary(made.joint.b),
        "joint_digest": made.joint.digest.hex(),
        "failures": [
            {"operation": "check_piece", "piece": 1, "seed": wrong.hex()}
            | failure(lambda: check_piece(ceremony, PieceSeed(1, wrong), made.parts[1]), "the part is of another seed"),
            {"operation": "check_piece", "piece": 1, "flipped_byte": 1000}
            | failure(lambda: check_piece(ceremony, made.seeds[1], bytes(flipped)), "the part was changed"),
            {"operation": "join", "missing_part": 2}
            | failure(lambda: join(ceremony, {0: made.parts[0], 1: made.parts[1]}), "a public part is missing"),
            {"operation": "join", "truncated_part": 0}
            | failure(lambda: join(ceremony, {**made.parts, 0: made.parts[0][:-1]}), "a public part is malformed"),
        ],
    }


def _piece_json(dealt: Dealing, piece: int) -> Json:
    share, free = dealt.share(piece), piece < dealt.terms.free
    data = share.encode()
    return {
        "piece": piece,
        "form": "seed" if free else "value",
        "contribution": share.contribution.hex(),
        "pairs": [given.hex() for given in share.pairs.values()],
        "seed": data[-32:].hex() if free else None,
        "value": summary(share.value()),
        "masks": share.masks().tolist() if dealt.terms.tested else None,
        "bytes": len(data),
        "digest": share.digest().hex(),
        "mask_key": dealt.mask_key(piece).hex(),
        "masked_sha256": sha(masked(data, dealt.mask_key(piece))),
    }


def _dealing_json(dealt: Dealing, seed: bytes, challenge: bytes | None) -> Json:
    opened = proof = None
    if challenge is not None:
        proof = dealt.degree_proof(challenge)
        published = PublishedDealing(dealt.terms, dealt.digests, dealt.terms.dealers)
        values = DegreeProof.decode(proof, published, challenge, prover=dealt.terms.dealers[0]).values
        opened = [values[:, point].tolist() for point in range(values.shape[1])]
    return {
        "addend": dealt.terms.addend,
        "dealers": list(dealt.terms.dealers),
        "element_sha256": sha(dealt._secret.astype("<u8").tobytes()),
        "seed": seed.hex(),
        "root": dealt._root.hex(),
        "pieces": [_piece_json(dealt, piece) for piece in range(dealt.terms.sharing.pieces)],
        "opened": opened,
        "proof_sha256": None if proof is None else sha(proof),
    }


def joined(dealings: Sequence[Dealing]) -> list[PieceKey]:
    """The new pieces."""
    terms = [dealt.terms for dealt in dealings]
    return [
        join_piece(terms, piece, {d.terms.addend: d.share(piece) for d in dealings})
        for piece in range(terms[0].sharing.pieces)
    ]


def _pieces_json(pieces: Sequence[PieceKey]) -> list[Json]:
    return [
        {
            "piece": key.piece,
            "secret_ntt": summary(key.secret_ntt),
            "noise_key": key.noise_key.hex(),
            "pair_keys": [{"piece": other, "key": pair.hex()} for other, pair in key._pairs.items()],
        }
        for key in pieces
    ]


@cache
def founded() -> tuple[Federation, tuple[Dealing, ...]]:
    """3 of 5, Shamir, at the reduced ring degree: the ceremony, and what its dealers deal."""
    made = Federation(EXAMPLE, ShamirSharing(5, 3), "shamir")
    return made, tuple(founding_dealing(made.ceremony, made.seeds[addend])[0] for addend in range(3))


def _changed(data: bytes, at: int, q: int, width: int) -> bytes:
    value = (int.from_bytes(data[at : at + width], "little") + 1) % q
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def _founding_seed(made: Federation, addend: int) -> bytes:
    import hashlib

    label = b"secure-bfl/founding/v1" + made.ceremony.identity + addend.to_bytes(2, "little")
    return hashlib.shake_256(label + made.seeds[addend].reveal()).digest(32)


def dealing_json() -> Json:
    made, dealings = founded()
    suite, position = made.ceremony.suite, bytes_of("shamir/closing")
    published = [PublishedDealing(d.terms, d.digests, d.terms.dealers) for d in dealings]
    challenge = degree_challenge(published, position)
    victim, primes = dealings[1], suite.data_primes
    good, proof_bytes, prover = victim.share(4).encode(), victim.degree_proof(challenge), "member-2"

    def check(piece: int, data: bytes, why: str, *, publish: bool, proof: bytes = proof_bytes) -> Json:
        digests = tuple(bytes.fromhex(sha(data)) if publish and i == piece else d for i, d in enumerate(victim.digests))
        said = PublishedDealing(victim.terms, digests, (prover,))
        shown = DegreeProof.decode(proof, said, challenge, prover=prover)
        failed = failure(lambda: check_subshare(said, piece, data, sender="member-9", proof=shown), why)
        return failed | {"convicted": list(convicted(said, piece, data, proof=shown))}

    off, off_mask = (
        _changed(good, len(good) - 3, primes[-1], 3),
        _changed(good, 76 + 32 * victim.terms.pairs, primes[0], 6),
    )
    seed_in_full = victim.share(0).encode().ljust(len(good), b"\0")
    off_degree = _changed(proof_bytes, 44 + 8 * 6, primes[0], 6)
    terms = [d.terms for d in dealings]
    case = {"operation": "check_subshare", "addend": 1, "sender": "member-9"}
    honest = DegreeProof.decode(proof_bytes, published[1], challenge, prover=prover)
    for piece in (0, 4):
        check_subshare(published[1], piece, victim.share(piece).encode(), sender="member-9", proof=honest)
    return {
        "suite": suite.name,
        "ring_degree": suite.ring_degree,
        "primes": list(primes),
        "members": 5,
        "threshold": 3,
        "position": made.ceremony.position.hex(),
        "identity": made.ceremony.identity.hex(),
        "dealers": [
            {"member": m, "rand": made.rand(m).hex(), "piece_seed": made.seeds[m - 1].reveal().hex()} for m in (1, 2, 3)
        ],
        "public_parts": [sha(part) for part in made.parts.values()],
        "joint_digest": made.joint.digest.hex(),
        "closing_position": position.hex(),
        "challenge": challenge.hex(),
        "weights": [summary(fold_weights(d.terms, challenge)[:, 0]) for d in dealings],
        "dealings": [_dealing_json(d, _founding_seed(made, d.terms.addend), challenge) for d in dealings],
        "expanded": summary(expand(bytes(range(32)), 16, primes)),
        "pieces": _pieces_json(joined(dealings)),
        "failures": [
            case
            | {"piece": 4, "change": "last_residue", "published": False}
            | check(4, off, "not what was published: the sender is named", publish=False),
            case
            | {"piece": 4, "change": "last_residue", "published": True}
            | check(4, off, "off the polynomial", publish=True),
            case
            | {"piece": 4, "change": "first_mask", "published": True}
            | check(4, off_mask, "the mask is off its polynomial", publish=True),
            case
            | {"piece": 4, "change": "truncated", "published": True}
            | check(4, good[:-1], "another length", publish=True),
            case
            | {"piece": 4, "change": "seed_where_a_value_is_due", "published": True}
            | check(4, seed_in_full, "another form than this piece's", publish=True),
            case
            | {"piece": 4, "change": "proof_off_degree", "published": True}
            | check(4, good, "what the proof opens is another polynomial", publish=True, proof=off_degree),
            {"operation": "decode_proof", "addend": 1, "change": "truncated"}
            | failure(
                lambda: DegreeProof.decode(proof_bytes[:-1], published[1], challenge, prover=prover),
                "the proof is malformed",
            ),
            {"operation": "join_piece", "piece": 4, "missing_addend": 1}
            | failure(
                lambda: join_piece(terms, 4, {0: dealings[0].share(4), 2: dealings[2].share(4)}),
                "a sub-share is missing",
            ),
        ],
    }


def _recombined(sharing: Sharing, pieces: Sequence[PieceKey]) -> UInt64Array:
    data = ring(EXAMPLE.ring_degree, EXAMPLE.data_primes)
    total = np.zeros((len(EXAMPLE.data_primes), EXAMPLE.ring_degree), dtype=np.uint64)
    if isinstance(sharing, ReplicatedSharing):
        for key in pieces:
            total = data.add(total, key.secret_ntt)
        return total
    last = range(sharing.members - sharing.threshold + 1, sharing.members + 1)
    for member, factor in lagrange(tuple(last), EXAMPLE.data_primes).items():
        total = data.add(total, data.multiply(pieces[member - 1].secret_ntt, factor))
    return total


def _handover_seed(over: Handover, key: PieceKey) -> bytes:
    import hashlib

    label = b"secure-bfl/handover-seed/v1" + over.identity + key.piece.to_bytes(2, "little")
    return hashlib.shake_256(label + key.noise_key).digest(32)


def handover_json() -> Json:
    made = Federation(EXAMPLE, ReplicatedSharing(3, 2), "handover")
    key_digest, pieces = made.joint.digest, list(made.pieces.values())
    whole = _recombined(made.ceremony.sharing, pieces)
    steps: list[tuple[Sharing, Sharing, tuple[int, ...]]] = [
        (ReplicatedSharing(3, 2), ShamirSharing(4, 3), ()),
        (ShamirSharing(4, 3), ReplicatedSharing(3, 2), (1, 2, 4)),
    ]
    stages, handovers = [], []
    for epoch, (old, new, active) in enumerate(steps, start=1):
        position, closing = bytes_of(f"handover/position/{epoch}"), bytes_of(f"handover/closing/{epoch}")
        over = Handover(EXAMPLE, old, new, key_digest, epoch, position, active)
        dealing_pieces = [pieces[terms.addend] for terms in over.terms]
        dealings = [subdeal(over, key) for key in dealing_pieces]
        challenge = None
        if isinstance(new, ShamirSharing):
            challenge = degree_challenge(
                [PublishedDealing(d.terms, d.digests, d.terms.dealers) for d in dealings], closing
            )
        seeds = [_handover_seed(over, key) for key in dealing_pieces]
        pieces = joined(dealings)
        assert np.array_equal(_recombined(new, pieces), whole)
        handovers.append((over, dealings))
        stages.append(
            {
                "old": [_kind(old), old.members, old.threshold],
                "new": [_kind(new), new.members, new.threshold],
                "active": list(active),
                "epoch": epoch,
                "position": position.hex(),
                "identity": over.identity.hex(),
                "closing_position": closing.hex(),
                "challenge": None if challenge is None else challenge.hex(),
                "dealings": [_dealing_json(d, s, challenge) for d, s in zip(dealings, seeds, strict=True)],
                "pieces": _pieces_json(pieces),
                "secret": summary(_recombined(new, pieces)),
            }
        )
    dealt = handovers[0][1][0]
    other = (bytes(32), *dealt.digests[1:])
    where = bytes_of("handover/position/2")
    return {
        "suite": EXAMPLE.name,
        "ring_degree": EXAMPLE.ring_degree,
        "founding": ["replicated", 3, 2],
        "position": made.ceremony.position.hex(),
        "rands": [made.rand(member).hex() for member in (1, 2, 3)],
        "joint_digest": key_digest.hex(),
        "secret": summary(whole),
        "stages": stages,
        "failures": [
            {"operation": "agree", "addend": 0, "publish": ["member-2", "member-3"], "change": "digest of piece 0"}
            | failure(
                lambda: agree(dealt.terms, {"member-2": dealt.digests, "member-3": other}),
                "holders of one piece publish different digests",
            ),
            {"operation": "agree", "addend": 0, "publish": []}
            | failure(lambda: agree(dealt.terms, {}), "nobody published"),
            {"operation": "handover", "epoch": 0}
            | failure(
                lambda: Handover(EXAMPLE, *steps[0][:2], key_digest, 0, where), "epoch 0 is the founding committee's"
            ),
            {"operation": "handover", "epoch": 2, "active": [1, 2]}
            | failure(lambda: Handover(EXAMPLE, *steps[1][:2], key_digest, 2, where, (1, 2)), "too few old members"),
        ],
    }


def _kind(sharing: Sharing) -> str:
    return "shamir" if isinstance(sharing, ShamirSharing) else "replicated"
