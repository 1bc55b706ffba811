"""The dry run of a new key: everybody makes the same test, and a wrong piece shows."""

import numpy as np
import pytest

from protocols.errors import BadShareError
from protocols.tckks import EncryptedVector, MemberKey, PartialDecryption, PieceKey, PieceSeed, Trial, dryrun
from protocols.tckks.keygen import derive_piece
from protocols.tckks.wire import HEADER_BYTES
from tests.protocols.tckks.committee import SUITE, Committee, committee, rand


def made(team: Committee) -> EncryptedVector:
    return dryrun.trial_ciphertext(team.joint, team.budget, team.layout, epoch=0, trial=0, binding=bytes(32))


ONLY = Trial(0, ())


def holder(team: Committee, piece: PieceKey) -> MemberKey:
    """A holder of the piece, who holds this one in its place."""
    member = team.sharing.holders(piece.piece)[0]
    held = {p: team.pieces[p] for p in team.sharing.held_by(member)}
    return MemberKey(member, team.joint, {**held, piece.piece: piece}, sharing=team.sharing)


def answered(team: Committee, piece: PieceKey) -> bytes:
    return dryrun.answer_test(holder(team, piece), piece.piece, ONLY, made(team))


@pytest.fixture(scope="module")
def answers() -> dict[int, bytes]:
    team = committee()
    return {p: answered(team, piece) for p, piece in team.pieces.items()}


def check(team: Committee, answers: dict[int, bytes]) -> None:
    dryrun.check_test(
        team.joint, team.sharing, team.budget, team.layout, {(0, p): a for p, a in answers.items()}, binding=bytes(32)
    )


def test_all_pieces_together_open_it(answers: dict[int, bytes]) -> None:
    check(committee(), answers)


def test_everybody_makes_the_same_bytes_and_another_key_has_another_test() -> None:
    team, other = committee(), committee(5, 4)
    assert made(team).encode() == made(team).encode()
    assert (made(team).residues[0, 1] != made(other).residues[0, 1]).mean() > 0.99
    ours, theirs = (
        dryrun.trial_digits(t.joint, t.layout, epoch=0, trial=0, binding=bytes(32)).digits for t in (team, other)
    )
    assert (ours[0, 0] != theirs[0, 0]).mean() > 0.99


def test_the_message_covers_the_whole_range() -> None:
    team = committee()
    digits = dryrun.trial_digits(team.joint, team.layout, epoch=0, trial=0, binding=bytes(32)).digits
    edge = team.layout.largest
    assert -edge <= digits.min() < -0.999 * edge
    assert 0.999 * edge < digits.max() <= edge


def test_every_holder_of_a_piece_answers_with_the_same_bytes(answers: dict[int, bytes]) -> None:
    team = committee()
    test = made(team)
    for member, key in team.keys.items():
        for piece in team.sharing.held_by(member)[:2]:
            own = derive_piece(team.ceremony, PieceSeed(piece, team.seeds[piece].reveal()))[0]
            assert answered(team, own) == answers[piece] == dryrun.answer_test(key, piece, ONLY, test)


def test_a_holder_with_a_wrong_piece_disagrees_and_its_answer_does_not_open(answers: dict[int, bytes]) -> None:
    team = committee()
    wrong = derive_piece(team.ceremony, PieceSeed(4, rand("wrong")))[0]
    right = team.pieces[4]
    for piece in (wrong, PieceKey(4, wrong.secret_ntt, right.noise_key)):
        answer = answered(team, piece)
        assert answer != answers[4]
        with pytest.raises(BadShareError, match="block 0 does not open") as caught:
            check(team, {**answers, 4: answer})
        assert "piece-4" in caught.value.culprits


def test_a_wrong_noise_key_disagrees_though_it_opens(answers: dict[int, bytes]) -> None:
    """Only the comparison between holders sees this one; it would break idempotent answers later."""
    team = committee()
    answer = answered(team, PieceKey(4, team.pieces[4].secret_ntt, rand("noise")))
    assert answer != answers[4]
    check(team, {**answers, 4: answer})


@pytest.mark.parametrize("piece", [0, 9])
def test_a_missing_answer(piece: int, answers: dict[int, bytes]) -> None:
    with pytest.raises(BadShareError, match=f"no answer for piece {piece} in trial 0"):
        check(committee(), {p: data for p, data in answers.items() if p != piece})


@pytest.mark.parametrize("at", [0, HEADER_BYTES - 1, HEADER_BYTES + 5, -1])
def test_a_garbled_answer(at: int, answers: dict[int, bytes]) -> None:
    garbled = bytearray(answers[3])
    garbled[at] ^= 0x80
    with pytest.raises(BadShareError) as caught:
        check(committee(), {**answers, 3: bytes(garbled)})
    assert "piece-3" in caught.value.culprits


def test_a_truncated_answer_names_its_piece(answers: dict[int, bytes]) -> None:
    with pytest.raises(BadShareError, match="piece-3: PARTIAL_DECRYPTION: expected") as caught:
        check(committee(), {**answers, 3: answers[3][:-1]})
    assert caught.value.culprits == ("piece-3",)


def test_an_answer_that_shifts_the_message_is_seen(answers: dict[int, bytes]) -> None:
    """It decodes, to another message: in a round nobody could tell, in the dry run everybody can."""
    team = committee()
    answer = PartialDecryption.decode(answers[3], team.joint, sender="piece-3", blocks=1)
    shift = np.zeros((1, len(SUITE.answer_primes), 8192), dtype=np.uint64)
    at = int(
        np.argmin(
            np.abs(dryrun.trial_digits(team.joint, team.layout, epoch=0, trial=0, binding=bytes(32)).digits[0, 0])
        )
    )
    shift[0, :, at] = team.kept.constant(1 << team.budget.scale_shift)[:, 0]
    moved = PartialDecryption(SUITE, team.joint.digest, team.kept.add(answer.residues, shift))
    with pytest.raises(BadShareError, match="another message than the test's"):
        check(team, {**answers, 3: moved.encode()})
