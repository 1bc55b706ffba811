"""keygen, dealing and handover, computed from the specification."""

from collections.abc import Sequence
from functools import cache

from .arithmetic import (
    ExpectedFailure,
    Json,
    MismatchError,
    Rows,
    bytes_of,
    caught,
    interpolation,
    labelled,
    pack_words,
    plus,
    sha,
    shake,
    summary,
    width_of,
)
from .committee import Replicated, Shamir, Sharing
from .dealing import (
    Claims,
    Dealing,
    Handover,
    Piece,
    Terms,
    check_subshare,
    convicted,
    degree_challenge,
    fold_weights,
    join_piece,
)
from .key import EXAMPLE, Ceremony, Suite, preset
from .keystream import expand
from .wire import read

__all__ = ["ceremony", "dealing", "founded", "handover", "joined", "keygen"]


@cache
def ceremony(suite: Suite, sharing: Sharing, label: str) -> Ceremony:
    """A key generation from labels."""
    rands = {member: bytes_of(f"{label}/deal/{member}") for member in range(1, sharing.members + 1)}
    return Ceremony(suite, sharing, bytes_of(f"{label}/position"), rands)


def keygen() -> Json:
    """2 of 3, replicated, at ring degree 8192."""
    made = ceremony(preset(8192), Replicated(3, 2), "replicated")
    pieces = []
    for piece, derived in enumerate(made.addends):
        if set(derived["ternary"]) != {-1, 0, 1} or max(map(abs, derived["error"])) > 21:
            raise MismatchError("a piece is not ternary, or its error is out of bounds")
        pieces.append(
            {
                "piece": piece,
                "dealer": made.sharing.dealer(piece),
                "seed": made.seeds[piece].hex(),
                "seed_commitment": derived["seed_commitment"].hex(),
                "ternary": summary(derived["ternary"], signed=True),
                "error": summary(derived["error"], signed=True),
                "noise_key": derived["noise_key"].hex(),
                "secret_ntt": summary(derived["secret"]),
                "b": summary(derived["b"]),
                "commitment": sha(derived["part"]).hex(),
            }
        )

    def check(piece: int, seed: bytes, flipped: int | None) -> None:
        part = bytearray(made.addends[piece]["part"])
        if flipped is not None:
            part[flipped] ^= 1
        if made.derive(piece, seed)["part"] != part:
            raise ExpectedFailure("KeyGenerationError", f"member-{made.sharing.dealer(piece)}")

    def join(parts: dict[int, bytes]) -> None:
        for addend in range(made.sharing.addends):
            try:
                read(parts.get(addend, b""), 1, made.suite.keys, 1, made.suite.n, made.identity)
            except ExpectedFailure as failure:
                raise ExpectedFailure("KeyGenerationError", f"member-{made.sharing.dealer(addend)}") from failure

    parts = {addend: derived["part"] for addend, derived in enumerate(made.addends)}
    join(parts)

    wrong = bytes_of("wrong seed")
    return {
        "suite": made.suite.name,
        "members": 3,
        "threshold": 2,
        "position": made.position.hex(),
        "identity": made.identity.hex(),
        "common_polynomial": summary(made.a),
        "dealers": [{"member": m, "rand": rand.hex()} for m, rand in made.rands.items()],
        "pieces": pieces,
        "joint_b": summary(made.b),
        "joint_digest": made.digest.hex(),
        "failures": [
            {"operation": "check_piece", "piece": 1, "seed": wrong.hex()} | caught(lambda: check(1, wrong, None)),
            {"operation": "check_piece", "piece": 1, "flipped_byte": 1000}
            | caught(lambda: check(1, made.seeds[1], 1000)),
            {"operation": "join", "missing_part": 2} | caught(lambda: join({0: parts[0], 1: parts[1]})),
            {"operation": "join", "truncated_part": 0} | caught(lambda: join({**parts, 0: parts[0][:-1]})),
        ],
    }


def _piece_json(dealt: Dealing, piece: int) -> Json:
    terms, data = dealt.terms, dealt.share(piece)
    free = piece < terms.free
    return {
        "piece": piece,
        "form": "seed" if free else "value",
        "contribution": dealt.contribution(piece).hex(),
        "pairs": [given.hex() for given in dealt.pairs(piece).values()] if terms.tested else [],
        "seed": dealt.derive(b"value", piece).hex() if free else None,
        "value": summary(dealt.value(piece)),
        "masks": dealt.masks(piece) if terms.tested else None,
        "bytes": len(data),
        "digest": sha(data).hex(),
        "mask_key": dealt.derive(b"mask-key", piece).hex(),
        "masked_sha256": sha(dealt.masked(piece)).hex(),
    }


def _dealing_json(dealt: Dealing, challenge: bytes | None) -> Json:
    terms = dealt.terms
    return {
        "addend": terms.addend,
        "dealers": list(terms.dealers),
        "element_sha256": sha(pack_words(dealt.secret)).hex(),
        "seed": dealt.seed.hex(),
        "root": dealt.root.hex(),
        "pieces": [_piece_json(dealt, piece) for piece in range(terms.sharing.pieces)],
        "opened": None if challenge is None else dealt.opened(challenge),
        "proof_sha256": None if challenge is None else sha(dealt.proof(challenge)).hex(),
    }


def joined(dealings: Sequence[Dealing]) -> list[Piece]:
    """The new pieces, which must hold the sum of what was dealt."""
    first = dealings[0].terms
    pieces = [join_piece(dealings, piece) for piece in range(first.sharing.pieces)]
    whole = plus(*(d.secret for d in dealings), primes=first.suite.data)
    if _recombined(first.suite, first.sharing, [piece.value for piece in pieces]) != whole:
        raise MismatchError("the new pieces do not hold what was dealt")
    return pieces


def _recombined(suite: Suite, sharing: Sharing, values: Sequence[Rows]) -> Rows:
    if isinstance(sharing, Replicated):
        return plus(*values, primes=suite.data)
    last = list(range(sharing.members - sharing.threshold + 1, sharing.members + 1))
    factors = [interpolation(last, 0, q) for q in suite.data]
    return [
        [sum(f * values[m - 1][i][c] for f, m in zip(row, last, strict=True)) % q for c in range(suite.n)]
        for i, (row, q) in enumerate(zip(factors, suite.data, strict=True))
    ]


def _pieces_json(pieces: Sequence[Piece]) -> list[Json]:
    return [
        {
            "piece": i,
            "secret_ntt": summary(piece.value),
            "noise_key": piece.noise_key.hex(),
            "pair_keys": [{"piece": other, "key": key.hex()} for other, key in piece.pairs.items()],
        }
        for i, piece in enumerate(pieces)
    ]


@cache
def founded() -> tuple[Ceremony, tuple[Dealing, ...]]:
    """3 of 5, Shamir, at the reduced ring degree: the ceremony, and what its dealers deal."""
    made = ceremony(EXAMPLE, Shamir(5, 3), "shamir")
    dealings = []
    for addend, derived in enumerate(made.addends):
        terms = Terms(made.identity, made.suite, made.sharing, addend, (f"member-{made.sharing.dealer(addend)}",))
        label = labelled(b"secure-bfl/founding/v1" + made.identity, (addend, 2))
        dealings.append(Dealing(terms, derived["secret"], shake(label + made.seeds[addend], 32)))
    return made, tuple(dealings)


def _changed(data: bytes, at: int, q: int, width: int) -> bytes:
    """One residue of a message, plus one."""
    value = (int.from_bytes(data[at : at + width], "little") + 1) % q
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def dealing() -> Json:
    """Dealing to Shamir's sharing: sub-shares, digests, masks, the degree test, and every way to cheat."""
    made, dealings = founded()
    position = bytes_of("shamir/closing")
    challenge = degree_challenge(dealings, position)
    pieces, victim = joined(dealings), dealings[1]
    good, primes = victim.share(4), made.suite.data
    opened = victim.opened(challenge)

    def claims(piece: int, data: bytes, shown: list[Rows] | None = None) -> Claims:
        digests = [sha(data) if i == piece else d for i, d in enumerate(victim.digests)]
        return Claims(victim.terms, tuple(digests), challenge, tuple(shown or opened))

    def check(said: Claims, piece: int, data: bytes) -> Json:
        failed = caught(lambda: check_subshare(said, piece, data, "member-9"))
        return failed | {"convicted": convicted(said, piece, data)}

    last, first_q = len(good) - 3, primes[0]
    off, off_mask = _changed(good, last, primes[-1], 3), _changed(good, victim.terms.start, first_q, 6)
    seed_in_full = victim.share(0).ljust(len(good), b"\0")
    other = [[list(row) for row in rows] for rows in opened]
    other[2][0][0] = (other[2][0][0] + 1) % first_q

    def join(addends: set[int]) -> None:
        for dealt in dealings:
            if dealt.terms.addend not in addends:
                raise ExpectedFailure("KeyGenerationError", *dealt.terms.dealers)

    def decode_proof(data: bytes) -> None:
        if len(data) != 44 + 12 * sum(map(width_of, primes)) or data[:44] != victim.terms.header(3, 0, challenge):
            raise ExpectedFailure("KeyGenerationError", *victim.terms.dealers)

    join({0, 1, 2})
    decode_proof(victim.proof(challenge))

    honest = Claims(victim.terms, tuple(victim.digests), challenge, tuple(opened))
    check_subshare(honest, 4, good, "member-9")
    check_subshare(honest, 0, victim.share(0), "member-9")
    case = {"operation": "check_subshare", "addend": 1, "sender": "member-9"}
    return {
        "suite": made.suite.name,
        "ring_degree": made.suite.n,
        "primes": list(primes),
        "members": 5,
        "threshold": 3,
        "position": made.position.hex(),
        "identity": made.identity.hex(),
        "dealers": [
            {"member": m, "rand": made.rands[m].hex(), "piece_seed": made.seeds[m - 1].hex()} for m in (1, 2, 3)
        ],
        "public_parts": [sha(derived["part"]).hex() for derived in made.addends],
        "joint_digest": made.digest.hex(),
        "closing_position": position.hex(),
        "challenge": challenge.hex(),
        "weights": [summary(fold_weights(d.terms, challenge)) for d in dealings],
        "dealings": [_dealing_json(d, challenge) for d in dealings],
        "expanded": summary(expand(bytes(range(32)), 16, primes)),
        "pieces": _pieces_json(pieces),
        "failures": [
            case | {"piece": 4, "change": "last_residue", "published": False} | check(honest, 4, off),
            case | {"piece": 4, "change": "last_residue", "published": True} | check(claims(4, off), 4, off),
            case | {"piece": 4, "change": "first_mask", "published": True} | check(claims(4, off_mask), 4, off_mask),
            case | {"piece": 4, "change": "truncated", "published": True} | check(claims(4, good[:-1]), 4, good[:-1]),
            case
            | {"piece": 4, "change": "seed_where_a_value_is_due", "published": True}
            | check(claims(4, seed_in_full), 4, seed_in_full),
            case
            | {"piece": 4, "change": "proof_off_degree", "published": True}
            | check(claims(4, good, other), 4, good),
            {"operation": "decode_proof", "addend": 1, "change": "truncated"}
            | caught(lambda: decode_proof(victim.proof(challenge)[:-1])),
            {"operation": "join_piece", "piece": 4, "missing_addend": 1} | caught(lambda: join({0, 2})),
        ],
    }


def handover() -> Json:
    """2 of 3 replicated, to 3 of 4 by Shamir, to 2 of 3 replicated: the sum of the pieces stays what it was."""
    key = ceremony(EXAMPLE, Replicated(3, 2), "handover")
    pieces = [Piece(derived["secret"], derived["noise_key"], {}) for derived in key.addends]
    whole = plus(*(piece.value for piece in pieces), primes=key.suite.data)
    stages = []
    steps: list[tuple[Sharing, Sharing, tuple[int, ...]]] = [
        (Replicated(3, 2), Shamir(4, 3), ()),
        (Shamir(4, 3), Replicated(3, 2), (1, 2, 4)),
    ]
    for epoch, (old, new, active) in enumerate(steps, start=1):
        over = Handover(key.suite, old, new, key.digest, epoch, bytes_of(f"handover/position/{epoch}"), active)
        numbers = [m - 1 for m in active] or list(range(old.pieces))
        dealings = [over.deal(piece, pieces[piece].value, pieces[piece].noise_key) for piece in numbers]
        closing = bytes_of(f"handover/closing/{epoch}")
        challenge = degree_challenge(dealings, closing) if isinstance(new, Shamir) else None
        pieces = joined(dealings)
        if _recombined(key.suite, new, [piece.value for piece in pieces]) != whole:
            raise MismatchError("a handover changed the secret")
        stages.append(
            {
                "old": [old.tag, old.members, old.threshold],
                "new": [new.tag, new.members, new.threshold],
                "active": list(active),
                "epoch": epoch,
                "position": over.position.hex(),
                "identity": over.identity.hex(),
                "closing_position": closing.hex(),
                "challenge": None if challenge is None else challenge.hex(),
                "dealings": [_dealing_json(dealt, challenge) for dealt in dealings],
                "pieces": _pieces_json(pieces),
                "secret": summary(_recombined(key.suite, new, [piece.value for piece in pieces])),
            }
        )

    def agree(said: dict[str, int], dealers: Sequence[str]) -> None:
        if not said:
            raise ExpectedFailure("KeyGenerationError", *dealers)
        if len(set(said.values())) > 1:
            camps = sorted(said, key=lambda name: (min(n for n in said if said[n] == said[name]), name))
            raise ExpectedFailure("KeyGenerationError", *camps)

    def started(epoch: int) -> None:
        if not 1 <= epoch < 1 << 32:
            raise ExpectedFailure("ValueError")

    def too_few() -> None:
        Shamir(4, 3).assign((1, 2))

    return {
        "suite": key.suite.name,
        "ring_degree": key.suite.n,
        "founding": ["replicated", 3, 2],
        "position": key.position.hex(),
        "rands": [rand.hex() for rand in key.rands.values()],
        "joint_digest": key.digest.hex(),
        "secret": summary(whole),
        "stages": stages,
        "failures": [
            {"operation": "agree", "addend": 0, "publish": ["member-2", "member-3"], "change": "digest of piece 0"}
            | caught(lambda: agree({"member-2": 0, "member-3": 1}, ())),
            {"operation": "agree", "addend": 0, "publish": []} | caught(lambda: agree({}, ("member-2", "member-3"))),
            {"operation": "handover", "epoch": 0} | caught(lambda: started(0)),
            {"operation": "handover", "epoch": 2, "active": [1, 2]} | caught(too_few),
        ],
    }
