"""Key generation: an honest run, and each way a dealer can cheat."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from protocols.arrays import UInt64Array
from protocols.errors import KeyGenerationError
from protocols.ring import ring
from protocols.suites import suite
from protocols.tckks import (
    Ceremony,
    JointKey,
    MemberKey,
    PieceKey,
    PieceSeed,
    ReplicatedSharing,
    ShamirSharing,
    check_piece,
    commitment,
    deal,
    derive_piece,
    join,
    seed_commitment,
)
from protocols.tckks.keygen import centred_binomial, ternary
from protocols.tckks.noise import ERROR_BOUND, ERROR_VARIANCE
from protocols.tckks.wire import HEADER_BYTES
from tests.protocols.tckks.committee import SUITE, committee, rand

FULL = ring(SUITE.ring_degree, SUITE.key_primes)


def test_every_dealer_deals_its_own_pieces_and_all_pieces_are_dealt_once() -> None:
    ceremony = committee().ceremony
    dealt = [(m, seed.piece) for m in range(1, 6) for seed in deal(ceremony, m, rand=rand(m))]
    assert sorted(piece for _, piece in dealt) == list(range(10))
    assert all(ceremony.sharing.dealer(piece) == member for member, piece in dealt)


def test_seeds_are_distinct_and_follow_from_rand_member_and_ceremony() -> None:
    ceremony = committee().ceremony
    other = dataclasses.replace(ceremony, position=rand("other"))

    def seeds(where: Ceremony, member: int, randomness: bytes) -> list[bytes]:
        return [seed.reveal() for seed in deal(where, member, rand=randomness)]

    assert seeds(ceremony, 1, rand(1)) == seeds(ceremony, 1, rand(1))
    everything = [*seeds(ceremony, 1, rand(1)), *seeds(ceremony, 2, rand(1)), *seeds(ceremony, 1, rand(2))]
    everything += seeds(other, 1, rand(1))
    assert len(set(everything)) == len(everything) >= 8


@pytest.mark.parametrize("size", [0, 31, 33])
def test_rand_and_seeds_are_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="deal needs 32 fresh random bytes"):
        deal(committee().ceremony, 1, rand=bytes(size))
    with pytest.raises(ValueError, match="a piece seed is 32 bytes"):
        PieceSeed(0, bytes(size))
    with pytest.raises(ValueError, match="a noise key and a pair's key are 32 bytes"):
        PieceKey(0, committee().pieces[0].secret_ntt, bytes(size))
    with pytest.raises(ValueError, match="32-byte hash"):
        Ceremony(SUITE, ReplicatedSharing(3, 2), bytes(size))


def test_pieces_are_ternary_and_public_parts_are_rlwe_samples_with_bounded_error() -> None:
    team = committee()
    for piece, seed in team.seeds.items():
        key, part = derive_piece(team.ceremony, seed)
        secret = team.data.compose(team.data.inverse_ntt(key.secret_ntt)).astype(np.int64)
        assert set(secret.tolist()) == {-1, 0, 1}
        counts = np.bincount(secret + 1)
        assert np.abs(counts - 8192 / 3).max() < 5 * np.sqrt(8192 * 2 / 9)
        b = join_one(team.ceremony, part)
        error = FULL.add(b, FULL.multiply(team.joint.a, FULL.ntt(FULL.reduce(secret))))
        values = -FULL.compose(FULL.inverse_ntt(error)).astype(np.int64)
        assert np.abs(values).max() <= ERROR_BOUND, piece
        assert np.var(values) == pytest.approx(ERROR_VARIANCE, rel=0.1)


def join_one(ceremony: Ceremony, part: bytes) -> UInt64Array:
    """The residues of one public part, read without the library's decoder."""
    rows, at = [], HEADER_BYTES
    for q in ceremony.suite.key_primes:
        width = (q.bit_length() + 7) // 8
        size = width * ceremony.suite.ring_degree
        raw = part[at : at + size]
        rows.append([int.from_bytes(raw[i : i + width], "little") for i in range(0, size, width)])
        at += size
    return np.array(rows, dtype=np.uint64)


def test_the_joint_key_is_the_sum_and_every_holder_derives_the_same() -> None:
    team = committee()
    total = np.zeros_like(team.joint.b)
    for part in team.parts.values():
        total = FULL.add(total, join_one(team.ceremony, part))
    assert np.array_equal(total, team.joint.b)
    for piece, seed in team.seeds.items():
        again = check_piece(team.ceremony, PieceSeed(piece, seed.reveal()), team.parts[piece])
        assert np.array_equal(again.secret_ntt, team.pieces[piece].secret_ntt)
        assert again.noise_key == team.pieces[piece].noise_key
    assert len({team.pieces[p].noise_key for p in team.pieces}) == 10


def test_the_digest_covers_suite_sharing_and_every_residue() -> None:
    joint = committee().joint
    hashed = hashlib.sha256(b"secure-bfl/joint-key/v1/tckks-8192-v1/replicated/5/3/")
    hashed.update(b"".join(int(v).to_bytes(8, "little") for v in joint.b.reshape(-1)))
    hashed.update(b"".join(int(v).to_bytes(8, "little") for v in joint.a.reshape(-1)))
    assert joint.digest == hashed.digest()
    changed = joint.b.copy()
    changed[-1, -1] ^= 1
    assert JointKey(SUITE, joint.founding, changed, joint.a).digest != joint.digest
    assert JointKey(SUITE, ReplicatedSharing(5, 4), joint.b, joint.a).digest != joint.digest


def test_another_position_suite_or_committee_has_another_common_polynomial() -> None:
    base = committee().ceremony
    others = [
        dataclasses.replace(base, position=rand("elsewhere")),
        dataclasses.replace(base, sharing=ReplicatedSharing(5, 4)),
        dataclasses.replace(base, sharing=ReplicatedSharing(6, 3)),
    ]
    rows = [c.common_polynomial()[0].tobytes() for c in (base, *others)]
    assert len(set(rows)) == 4
    assert dataclasses.replace(base, suite=suite(16384)).identity != base.identity
    assert not base.common_polynomial().flags.writeable


def test_a_wrong_seed_names_the_dealer() -> None:
    team = committee()
    for piece in range(10):
        dealer = f"member-{team.ceremony.sharing.dealer(piece)}"
        with pytest.raises(KeyGenerationError, match=f"does not follow from the seed that {dealer} dealt") as caught:
            check_piece(team.ceremony, PieceSeed(piece, rand("wrong")), team.parts[piece])
        assert caught.value.culprits == (dealer,)
        assert rand("wrong").hex() not in str(caught.value)


@pytest.mark.parametrize("at", [0, 43, 44, 100_000, -1])
def test_an_altered_public_part_is_caught_wherever_it_is_altered(at: int) -> None:
    team = committee()
    part = bytearray(team.parts[3])
    part[at] ^= 1
    with pytest.raises(KeyGenerationError) as caught:
        check_piece(team.ceremony, team.seeds[3], bytes(part))
    assert caught.value.culprits == (f"member-{team.ceremony.sharing.dealer(3)}",)
    assert commitment(bytes(part)) != commitment(team.parts[3])


def test_a_piece_of_another_ceremony_is_caught() -> None:
    team = committee()
    other = dataclasses.replace(team.ceremony, position=rand("other"))
    with pytest.raises(KeyGenerationError):
        check_piece(team.ceremony, team.seeds[0], derive_piece(other, team.seeds[0])[1])


def test_a_seed_dealt_for_two_pieces_gives_two_pieces() -> None:
    team = committee()
    first, second = (derive_piece(team.ceremony, PieceSeed(p, rand("same")))[0] for p in (0, 1))
    assert not np.array_equal(first.secret_ntt, second.secret_ntt)
    assert first.noise_key != second.noise_key


def test_a_missing_part_names_its_dealer() -> None:
    team = committee()
    for piece in range(10):
        rest = {p: part for p, part in team.parts.items() if p != piece}
        with pytest.raises(KeyGenerationError, match=f"public part of piece {piece} is missing") as caught:
            join(team.ceremony, rest)
        assert caught.value.culprits == (f"member-{team.ceremony.sharing.dealer(piece)}",)


def above_its_prime(part: bytes) -> bytes:
    return part[:HEADER_BYTES] + SUITE.key_primes[0].to_bytes(6, "little") + part[HEADER_BYTES + 6 :]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda part: part[:-1], "expected .* bytes"),
        (lambda part: part + b"\0", "expected .* bytes"),
        (lambda part: b"", "expected .* bytes, got 0"),
        (lambda part: b"XBFL" + part[4:], "header"),
        (lambda part: part[:12] + bytes(32) + part[44:], "header"),
        (above_its_prime, "not below its prime"),
    ],
)
def test_a_malformed_part_names_its_dealer(spoil: Callable[[bytes], bytes], message: str) -> None:
    team = committee()
    with pytest.raises(KeyGenerationError, match=message) as caught:
        join(team.ceremony, {**team.parts, 7: spoil(team.parts[7])})
    assert caught.value.culprits == (f"member-{team.ceremony.sharing.dealer(7)}",)


def test_a_commitment_is_the_sha_256_of_the_part() -> None:
    part = committee().parts[0]
    assert commitment(part) == hashlib.sha256(part).digest()


def test_a_stream_that_runs_out_is_refused() -> None:
    assert ternary(bytes([255, 0, 1, 255, 2, 254]), 4).tolist() == [-1, 0, 1, 1]
    with pytest.raises(KeyGenerationError, match="ran out"):
        ternary(bytes([255] * 100 + [1] * 9), 10)


def test_the_error_law_counts_21_coins_against_21() -> None:
    words = [0, (1 << 21) - 1, ((1 << 21) - 1) << 21, (1 << 42) - 1, 0b101, 1 << 42, (1 << 64) - 1, 0b11 << 21]
    stream = b"".join(word.to_bytes(8, "little") for word in words)
    assert centred_binomial(stream).tolist() == [0, 21, -21, 0, 2, 0, 0, -2]


def test_a_member_key_holds_exactly_its_pieces() -> None:
    team = committee()
    for member, key in team.keys.items():
        for piece in range(10):
            if piece in team.sharing.held_by(member):
                assert key.piece(piece) is team.pieces[piece]
            else:
                with pytest.raises(KeyError):
                    key.piece(piece)
    for pieces in ({}, dict(team.pieces)):
        with pytest.raises(ValueError, match="member 1 must hold exactly the pieces"):
            MemberKey(1, team.joint, pieces, sharing=team.sharing)


def test_a_member_key_has_keys_of_pairs_exactly_in_shamir_s_sharing() -> None:
    team, value = committee(), committee().pieces[0].secret_ntt
    held = {p: team.pieces[p] for p in team.sharing.held_by(1)}
    first = min(held)
    paired = PieceKey(first, held[first].secret_ntt, rand("noise"), pairs={first + 1: rand("pair")})
    with pytest.raises(ValueError, match=f"piece {first} of replicated/5/3 must .*take it from check_piece"):
        MemberKey(1, team.joint, {**held, first: paired}, sharing=team.sharing)
    with pytest.raises(ValueError, match=f"piece {first} of replicated/5/3 must be that piece"):
        MemberKey(1, team.joint, {**held, first: held[first + 1]}, sharing=team.sharing)
    shamir = ShamirSharing(3, 2)
    for others in ((), (1,), (1, 2, 3), (1, 3)):
        piece = PieceKey(0, value, rand("noise"), pairs={other: rand(other) for other in others})
        with pytest.raises(ValueError, match=r"piece 0 of shamir/3/2 must .*pieces \(1, 2\): take it from join_piece"):
            MemberKey(1, team.joint, {0: piece}, sharing=shamir)
    whole = PieceKey(0, value, rand("noise"), pairs={other: rand(other) for other in (2, 1)})
    assert MemberKey(1, team.joint, {0: whole}, sharing=shamir).piece(0).paired == (1, 2)


def test_the_kind_of_sharing_is_in_the_name_of_ceremony_and_key() -> None:
    """The same members and threshold, shared in another way, are another ceremony and another key."""
    joint, position = committee().joint, rand("position")
    assert joint.founding.tag == "replicated/5/3"
    kinds = (ReplicatedSharing(5, 3), ShamirSharing(5, 3))
    assert len({Ceremony(SUITE, sharing, position).identity for sharing in kinds}) == 2
    assert len({JointKey(SUITE, sharing, joint.b, joint.a).digest for sharing in kinds}) == 2
    label = b"secure-bfl/ceremony/v1/tckks-8192-v1/shamir/5/3/"
    assert Ceremony(SUITE, kinds[1], position).identity == hashlib.sha256(label + position).digest()


def test_a_shamir_ceremony_has_no_piece_to_check_against_a_seed() -> None:
    ceremony = Ceremony(SUITE, ShamirSharing(3, 2), rand("position"))
    (seed,) = deal(ceremony, 1, rand=rand("deal"))
    with pytest.raises(ValueError, match=r"with founding_dealing, .* check_subshare and .* join_piece"):
        check_piece(ceremony, seed, derive_piece(ceremony, seed)[1])


@pytest.mark.parametrize("epoch", [-1, 1 << 32])
def test_an_epoch_is_a_32_bit_number(epoch: int) -> None:
    team = committee()
    held = {p: team.pieces[p] for p in team.sharing.held_by(1)}
    with pytest.raises(ValueError, match="an epoch is a 32-bit number"):
        MemberKey(1, team.joint, held, sharing=team.sharing, epoch=epoch)


def test_a_seed_commitment_binds_ceremony_addend_and_seed() -> None:
    ceremony = committee().ceremony
    other = dataclasses.replace(ceremony, position=rand("other"))
    seeds = [(ceremony, 0, "a"), (other, 0, "a"), (ceremony, 1, "a"), (ceremony, 0, "b")]
    digests = [seed_commitment(c, PieceSeed(p, rand(word))) for c, p, word in seeds]
    assert len(set(digests)) == 4
    assert seed_commitment(ceremony, PieceSeed(0, rand("a"))) == digests[0]


def test_a_joint_key_has_one_shape() -> None:
    joint = committee().joint
    with pytest.raises(ValueError, match="expected shape"):
        JointKey(SUITE, joint.founding, joint.b[:-1], joint.a)
    with pytest.raises(TypeError, match="uint64"):
        JointKey(SUITE, joint.founding, joint.b.astype(np.int64), joint.a)
