"""What a minority of the old committee and one of the new see together tells nothing about the secret."""

import hashlib
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from protocols.arrays import UInt64Array
from protocols.tckks.dealing import Dealing
from protocols.tckks.degree import (
    DegreeProof,
    fold,
    fold_weights,
)
from protocols.tckks.shamir import interpolation, lagrange
from protocols.tckks.sharing import ShamirSharing, Sharing
from protocols.tckks.subshare import DealingTerms, expand
from tests.protocols.tckks.dealt import COLUMN, PRIMES, SMALL, data_ring, element, opened, seed, total
from tests.protocols.tckks.handed_over import (
    KINDS,
    R43,
    S43,
    Change,
    change,
    changed,
    handover,
    pieces_of,
    secret_of,
)

EVERY = pytest.mark.parametrize(("old", "new"), KINDS.values(), ids=KINDS.keys())


# --- secrecy: a linear test on what a coalition sees -----------------------------------------------------------------
# Sharing and dealing are linear and the same for every value of the NTT form, so the 256 values are 256 samples of
# one experiment. If the secret's value is a linear function of what is seen, adding it as a row raises no rank.

Rows = list[NDArray[np.object_]]


def rank(rows: Rows, q: int) -> int:
    """The rank modulo a prime, by elimination."""
    matrix, found = np.array(rows, dtype=object) % q, 0
    for column in range(matrix.shape[1]):
        pivots = np.nonzero(matrix[found:, column])[0]
        if len(pivots) == 0:
            continue
        at = found + int(pivots[0])
        matrix[[found, at]] = matrix[[at, found]]
        matrix[found] = matrix[found] * pow(int(matrix[found, column]), -1, q) % q
        below = matrix[found + 1 :]
        below -= below[:, column : column + 1] * matrix[found]
        below %= q
        found += 1
        if found == len(matrix):
            break
    return found


def gives_away(seen: list[UInt64Array], secret: UInt64Array) -> bool:
    """Whether the secret is an affine function of values that somebody has seen, modulo the first prime."""
    samples = len(seen) + 9
    assert samples <= SMALL.ring_degree
    rows: Rows = [np.ones(samples, dtype=object), *(value[0, :samples].astype(object) for value in seen)]
    return rank(rows, PRIMES[0]) == rank([*rows, secret[0, :samples].astype(object)], PRIMES[0])


def seen_by(done: Change, old: tuple[int, ...], new: tuple[int, ...]) -> list[UInt64Array]:
    """All values that members of the old and of the new committee see in a handover."""
    held = {p for m in old for p in done.handover.old.held_by(m)}
    got = {p for m in new for p in done.handover.new.held_by(m)}
    seen = [done.old[p].secret_ntt for p in held] + [done.new[p].secret_ntt for p in got]
    for addend, dealing in done.dealings.items():
        pieces = range(done.handover.new.pieces) if addend in held else got
        seen += [dealing.share(p).value() for p in pieces]
    return seen


COALITIONS = [((1, 2), (1, 2)), ((2, 4), (4, 5)), ((3, 4), (1, 5)), ((1, 4), (3, 4))]


@EVERY
@pytest.mark.parametrize(("left", "right"), COALITIONS)
def test_minorities_of_both_committees_together_learn_nothing(
    old: Sharing, new: Sharing, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    done = changed(old, new)
    secret = secret_of(old, done.old)
    assert not gives_away(seen_by(done, left, right), secret)
    assert gives_away(seen_by(done, (*left, *({1, 2, 3} - set(left)))[:3], ()), secret)
    assert gives_away(seen_by(done, (), (*right, *({1, 2, 3} - set(right)))[:3]), secret)


@pytest.mark.parametrize("sharing", [R43, S43], ids=["replicated", "shamir"])
def test_a_refresh_makes_what_was_stolen_before_worthless(sharing: Sharing) -> None:
    first = change(handover(sharing, sharing), pieces_of(sharing))
    second = change(handover(sharing, sharing, epoch=2), first.new)
    secret = secret_of(sharing, first.old)
    stolen = [first.old[p].secret_ntt for m in (1, 2) for p in sharing.held_by(m)]
    later = [second.new[p].secret_ntt for m in (3, 4) for p in sharing.held_by(m)]
    assert not gives_away(stolen + later, secret)
    # Had the pieces stayed the same, two members before and two others after would hold them all.
    assert gives_away(stolen + [first.old[p].secret_ntt for m in (3, 4) for p in sharing.held_by(m)], secret)


def naive_values(terms: DealingTerms, secret: UInt64Array, key: bytes) -> list[UInt64Array]:
    """A dealing whose free values follow from a seed alone, and not from what is dealt."""
    free = [expand(hashlib.sha256(key + bytes([i])).digest(), SMALL.ring_degree, PRIMES) for i in range(terms.free)]
    values = []
    for piece in range(terms.sharing.pieces):
        parts = zip(terms.factors(piece), [secret, *free], strict=True)
        values.append(total(data_ring().multiply(value, factor) for factor, value in parts))
    return values


@EVERY
def test_the_same_randomness_for_two_addends_would_give_the_secret_away(old: Sharing, new: Sharing) -> None:
    # Two old members know their own addends' dealings whole, and so the free values of those they do not know.
    by, pieces, left, right = handover(old, new), pieces_of(old), (1, 3), (1, 4)
    secret = secret_of(old, pieces)
    factors = lagrange(by.active, PRIMES) if by.active else {}
    held = {p for m in left for p in old.held_by(m)}
    got = {p for m in right for p in new.held_by(m)}
    for one_seed in (True, False):
        seen = [pieces[p].secret_ntt for p in held]
        for t in by.terms:
            x = pieces[t.addend].secret_ntt
            x = data_ring().multiply(x, factors[t.addend + 1]) if factors else x
            values = naive_values(t, x, seed("naive", None if one_seed else t.addend))
            seen += [values[p] for p in (range(new.pieces) if t.addend in held else got)]
        assert gives_away(seen, secret) == one_seed


@EVERY
def test_a_handover_that_starts_again_draws_new_randomness(old: Sharing, new: Sharing) -> None:
    # Two attempts, another minority of the new committee each time: with one randomness they hold a quorum's parts.
    first = changed(old, new)
    secret = secret_of(old, first.old)
    again = change(handover(old, new, position=seed("again")), first.old)
    attempts = seen_by(first, (1, 3), (1, 2)) + seen_by(again, (1, 3), (3, 4))
    assert not gives_away(attempts, secret)
    assert gives_away(seen_by(first, (1, 3), (1, 2)) + seen_by(first, (1, 3), (3, 4)), secret)


# --- secrecy: another secret explains the same view ------------------------------------------------------------------


def _direction(sharing: Sharing, coalition: tuple[int, ...]) -> dict[int, UInt64Array]:
    """A sharing of one that is zero wherever the coalition looks: uint64[K, 1] for each piece."""
    if isinstance(sharing, ShamirSharing):
        return {m - 1: interpolation((0, *coalition), m, PRIMES)[0] for m in range(1, sharing.members + 1)}
    held = {p for m in coalition for p in sharing.held_by(m)}
    return {p: data_ring().constant(0 if p in held else 1) for p in range(sharing.pieces)}


@EVERY
@pytest.mark.parametrize(("left", "right"), COALITIONS)
def test_every_other_secret_explains_what_minorities_see(
    old: Sharing, new: Sharing, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    done, data, shift = changed(old, new), data_ring(), element("another secret", old, new)
    along_old, along_new = _direction(old, left), _direction(new, right)
    held = {p for m in left for p in old.held_by(m)}
    got = {p for m in right for p in new.held_by(m)}
    assert not any(along_old[p].any() for p in held)
    assert not any(along_new[p].any() for p in got)

    old_values = [data.add(done.old[p].secret_ntt, data.multiply(shift, along_old[p])) for p in range(old.pieces)]
    secret = data.add(secret_of(old, done.old), shift)
    assert np.array_equal(opened(old, old_values), secret)

    factors = lagrange(done.handover.active, PRIMES) if done.handover.active else {}
    new_values = [np.zeros_like(shift) for _ in range(new.pieces)]
    for addend, dealing in done.dealings.items():
        moved = data.multiply(shift, along_old[addend])
        addend_value = old_values[addend]
        if factors:
            moved, addend_value = (data.multiply(x, factors[addend + 1]) for x in (moved, addend_value))
        assert not (addend in held and moved.any())
        values = [data.add(dealing.share(p).value(), data.multiply(moved, along_new[p])) for p in range(new.pieces)]
        for quorum in [None] if not isinstance(new, ShamirSharing) else list(combinations(range(1, 6), 3)):
            assert np.array_equal(opened(new, values, quorum), addend_value)  # it is a dealing of the other addend
        proof = done.proofs[addend]
        if proof is not None:  # with masks that keep the published proof true
            _check_other_masks(dealing, proof, values, moved, along_new, got)
        new_values = [data.add(x, y) for x, y in zip(new_values, values, strict=True)]
    assert np.array_equal(opened(new, new_values), secret)
    assert all(np.array_equal(new_values[p], done.new[p].secret_ntt) for p in got)


def _check_other_masks(
    dealing: Dealing,
    proof: DegreeProof,
    values: list[UInt64Array],
    moved: UInt64Array,
    along: Mapping[int, UInt64Array],
    got: set[int],
) -> None:
    weights = fold_weights(dealing.terms, proof.challenge)
    moved_fold = fold(dealing.terms, moved, weights).astype(object)
    for piece, value in enumerate(values):
        change_of_mask = (moved_fold * along[piece].astype(object) % COLUMN.astype(object)).astype(np.uint64)
        masks = (dealing.share(piece).masks() + COLUMN - change_of_mask) % COLUMN
        assert (piece not in got) or np.array_equal(masks, dealing.share(piece).masks())
        at_piece = np.zeros_like(masks).astype(object)
        for i, factor in enumerate(dealing.terms.factors(piece)):
            at_piece += factor.astype(object) * proof.values[:, i].astype(object)
        shown = (masks + fold(dealing.terms, value, weights)) % COLUMN
        assert np.array_equal(shown, (at_piece % COLUMN.astype(object)).astype(np.uint64))
