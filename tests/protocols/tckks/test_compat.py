"""Stock TenSEAL code under the joint key: the public context, its users' sums, and plans."""

import math
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import tenseal as ts
import tenseal.sealapi as seal
import zstandard

from protocols.errors import BadShareError, CapacityError, DecodeError
from protocols.suites import suite
from protocols.tckks import (
    EncryptedVector,
    MemberKey,
    NoiseBudget,
    PieceKey,
    Purpose,
    ReplicatedSharing,
    ShamirSharing,
    aggregate,
    partial_decrypt,
)
from protocols.tckks import _tenseal_bytes as tenseal_bytes
from protocols.tckks.compat import SCALE_BITS, SlotPlan, _embedding, _real, open_slots, public_context
from tests.protocols.tckks.stock_users import (
    PLAN,
    SCALE,
    SUITE,
    TIGHT,
    USERS,
    VALUES,
    Answers,
    answers,
    data_ring,
    expected,
    read,
    sent,
    team,
    total,
    unsmudged,
    user_values,
)


def test_seal_and_we_write_the_same_parameters_and_levels() -> None:
    loaded = team().context()
    context = loaded.seal_context().data
    for primes, theirs in ((SUITE.key_primes, context.key_parms_id()), (SUITE.data_primes, context.first_parms_id())):
        assert tenseal_bytes.parms_id(SUITE.ring_degree, primes) == struct.pack("<4Q", *theirs)
    ours, again = public_context(team().joint), loaded.serialize()
    assert object_body(ours, 0) == object_body(again, 0)  # encryption parameters
    assert object_body(ours, 1) == object_body(again, 1)  # public key


def object_body(context: bytes, which: int) -> bytes:
    """The body of a context's first (parameters) or second (public key) SEAL object, uncompressed."""
    magic = struct.pack("<HBB", 0xA15E, 16, 4)
    start = context.index(magic)
    for _ in range(which):
        start = context.index(magic, start + struct.unpack_from("<Q", context, start + 8)[0])
    body = context[start + 16 : start + struct.unpack_from("<Q", context, start + 8)[0]]
    return zstandard.ZstdDecompressor().decompress(body) if context[start + 5] else body


def test_the_version_we_write_is_the_version_of_this_seal() -> None:
    own = team().context().serialize()
    at = own.index(struct.pack("<HB", 0xA15E, 16))
    assert tuple(own[at + 3 : at + 5]) == tenseal_bytes.SEAL_VERSION


def test_the_context_is_public_and_holds_nothing_to_decrypt_with() -> None:
    context = team().context()
    assert not context.is_private()
    assert context.is_public()
    assert context.has_public_key()
    assert [context.has_secret_key(), context.has_relin_keys(), context.has_galois_keys()] == [False] * 3
    assert context.global_scale == SCALE
    assert [context.auto_rescale, context.auto_relin, context.auto_mod_switch] == [False] * 3
    vector = ts.ckks_vector(context, [1.0, 2.0])
    with pytest.raises(ValueError, match="doesn't hold a secret_key"):
        vector.decrypt()
    with pytest.raises(ValueError, match="doesn't support decryption"):
        context.data.decryptor()
    for secret in ({}, {"save_secret_key": True}):
        assert len(context.serialize(save_public_key=False, **secret)) < 200  # parameters and scale


def test_make_context_public_leaves_a_working_decryptor() -> None:
    """Why the context is made of bytes: TenSEAL calls this one public too."""
    trap = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60])
    trap.global_scale = 2.0**40
    trap.make_context_public()
    assert trap.is_public()
    assert not trap.is_private()
    plain = seal.Plaintext()
    trap.data.decryptor().decrypt(ts.ckks_vector(trap, [1.5, 2.5]).ciphertext()[0], plain)
    read_by_anyone = seal.CKKSEncoder(trap.seal_context().data).decode_double(plain)[:2]
    assert np.allclose(read_by_anyone, [1.5, 2.5], atol=1e-3)


@pytest.mark.parametrize("scale_bits", [0, -1, 198, 1000])
def test_a_scale_outside_the_modulus_is_a_mistake(scale_bits: int) -> None:
    with pytest.raises(ValueError, match="has 1 to 197 bits"):
        public_context(team().joint, scale_bits=scale_bits)
    with pytest.raises(ValueError, match="has 1 to 197 bits"):
        read(b"", scale_bits=scale_bits)
    with pytest.raises(ValueError, match="has 1 to 197 bits"):
        replace(PLAN, scale_bits=scale_bits)


def test_seal_encrypts_at_the_largest_scale() -> None:
    vector = ts.ckks_vector(team().context(197), [0.5])
    assert read(vector.serialize(), values=1, scale_bits=197).residues.shape == (1, 2, 5, 8192)


# Sums


def test_three_users_sum_for_every_quorum() -> None:
    for active in (*combinations((1, 2, 3), 2), (1, 2, 3)):
        opened = open_slots(total(), answers(total(), PLAN, active), PLAN)
        assert opened.shape == (VALUES,)
        assert np.abs(opened - expected()).max() <= PLAN.error_bound + 1e-12  # float64 of the users' own values
    assert PLAN.error_bound < 1e-9


def test_a_committee_with_shamirs_sharing_opens_alike() -> None:
    """The same key, shared anew: Lagrange factors go before the noise, so the error is that of two answers."""
    data, sharing = data_ring(), ShamirSharing(3, 2)
    slope = np.stack([np.random.default_rng(9).integers(0, q, 8192, dtype=np.uint64) for q in SUITE.data_primes])
    plan = replace(PLAN, noise=NoiseBudget(SUITE, 3, sharing.answers, USERS))
    pairs = {m: {o - 1: bytes([m * o] * 32) for o in (1, 2, 3) if o != m} for m in (1, 2, 3)}
    for active in combinations((1, 2, 3), 2):
        given = {}
        for m in active:
            share = data.add(team().secret, data.multiply(slope, data.constant(m)))
            key = MemberKey(
                m, team().joint, {m - 1: PieceKey(m - 1, share, bytes([m] * 32), pairs=pairs[m])}, sharing=sharing
            )
            answer = partial_decrypt(key, total(), active, purpose=Purpose.SLOTS, profile=plan.profile)
            given[f"member-{m}"] = answer.residues
        error = open_slots(total(), given, plan) - expected()
        assert np.abs(error).max() < plan.error_bound
        assert 0.95 < error.std() / plan.error_std < 1.05


def test_the_error_is_the_predicted_one() -> None:
    assert TIGHT.profile.smudging_bits < 95
    assert TIGHT.tolerance / 2 < TIGHT.error_bound <= TIGHT.tolerance
    opened = open_slots(total(110), answers(total(110), TIGHT), TIGHT)
    error = opened - expected()
    assert 0.95 < error.std() / TIGHT.error_std < 1.05
    assert np.abs(error).max() < TIGHT.error_bound
    assert np.abs(error).max() > 3 * TIGHT.error_std  # the smudging is there: 9000 draws of it


def test_without_smudging_nothing_but_float64_is_lost() -> None:
    """Slot order, scale and transform, up to the rounding of the users' encoder."""
    opened = open_slots(total(), unsmudged(total(), PLAN.profile.dropped), PLAN)
    assert np.abs(opened - expected()).max() < 1e-12


@pytest.mark.parametrize(
    ("scale_bits", "tolerance", "dropped"), [(140, 1e-5, 2), (110, 1e-5, 2), (92, 1e-5, 1), (48, 1e-2, 0)]
)
def test_the_rounding_stays_within_its_bound(scale_bits: int, tolerance: float, dropped: int) -> None:
    wide = replace(PLAN, rounds=1, scale_bits=scale_bits, tolerance=tolerance) if scale_bits > 100 else None
    plan = wide or unchecked(scale_bits, tolerance)
    assert plan.profile.dropped == dropped
    rounding = plan._rounding(dropped)
    assert rounding <= tolerance / 16
    assert dropped == SUITE.dropped or plan._rounding(dropped + 1) > tolerance / 16
    error = open_slots(total(scale_bits), unsmudged(total(scale_bits), dropped), plan) - expected()
    assert rounding / 1e5 < np.abs(error).max() + 1e-12
    assert np.abs(error).max() < rounding + 1e-12


def unchecked(scale_bits: int, tolerance: float) -> SlotPlan:
    """A plan that is refused for its smudging, to look at its rounding alone."""
    plan = replace(PLAN)
    object.__setattr__(plan, "scale_bits", scale_bits)
    object.__setattr__(plan, "tolerance", tolerance)
    return plan


def test_tenseal_and_we_add_alike() -> None:
    """Whoever has only TenSEAL can check the sum: residue by residue the same."""
    context = team().context()
    vectors = [ts.ckks_vector_from(context, sent(user)) for user in range(USERS)]
    theirs = read((vectors[0] + vectors[1] + vectors[2]).serialize())
    assert np.array_equal(theirs.residues, total().residues)
    again = EncryptedVector.decode(theirs.encode(), team().joint, blocks=3, sender="user")
    assert np.array_equal(again.residues, theirs.residues)


@pytest.mark.parametrize("values", [1, 5, 4095, 4096, 4097])
def test_vectors_of_every_length(values: int) -> None:
    mine = np.linspace(-1, 1, values)
    data = ts.ckks_vector(team().context(), mine.tolist()).serialize()
    plan = replace(PLAN, values=values)
    vector = read(data, values=values)
    assert len(vector.residues) == plan.blocks == (values + 4095) // 4096
    opened = open_slots(vector, answers(vector, plan), plan)
    assert opened.shape == (values,)
    assert np.abs(opened - mine).max() < plan.error_bound
    with pytest.raises(DecodeError):
        read(data, values=values + 1)


def test_large_and_small_values_keep_their_float64_digits() -> None:
    mine = np.array([2.0**55, -(2.0**54) - 4096, 1.0, 0.0, -1e-6])
    plan = replace(PLAN, values=5, largest=2.0**56)
    vector = read(ts.ckks_vector(team().context(), mine.tolist()).serialize(), values=5)
    opened = open_slots(vector, answers(vector, plan), plan)
    assert np.abs(opened - mine).max() < 2.0**55 * 2**-48  # the users' own encoder works in float64


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than float64 here")
def test_decoding_is_more_precise_than_its_result() -> None:
    assert _real(np.array([(1 << 140) + (1 << 80)], dtype=object), 140)[0] - 1 == 2.0**-60
    coefficients = np.random.default_rng(3).uniform(-1, 1, 8192).astype(np.longdouble)
    slots = _embedding(coefficients)
    half_turn = np.arctan2(np.longdouble(0), np.longdouble(-1))
    for slot in (0, 1, 2, 777, 4095):
        exponents = (pow(3, slot, 16384) * np.arange(8192)) % 16384
        angle = exponents.astype(np.longdouble) * half_turn / 8192
        real, imaginary = (coefficients * np.cos(angle)).sum(), (coefficients * np.sin(angle)).sum()
        assert abs(slots[slot].real - real) < 1e-15  # a float64 transform is off by more
        assert abs(slots[slot].imag - imaginary) < 1e-15


# Sums that must not open


def flipped(given: Answers) -> Answers:
    changed = given["member-2"].copy()
    changed[1, 0, 4000] = (int(changed[1, 0, 4000]) + 1) % SUITE.data_primes[0]
    return {**given, "member-2": changed}


def left_out(given: Answers) -> Answers:
    return {"member-1": given["member-1"]}


def zeros(given: Answers) -> Answers:
    return {**given, "member-2": np.zeros_like(given["member-2"])}


def swapped(given: Answers) -> Answers:
    return {**given, "member-2": given["member-2"][::-1]}


@pytest.mark.parametrize("spoil", [flipped, left_out, zeros, swapped])
def test_a_wrong_answer_does_not_open(spoil: Callable[[Answers], Answers]) -> None:
    given = spoil(answers(total(), PLAN))
    with pytest.raises(BadShareError, match=r"block [01] does not open: a coefficient is out of bounds") as caught:
        open_slots(total(), given, PLAN)
    assert caught.value.culprits == tuple(given)


def test_an_answer_for_another_purpose_does_not_open() -> None:
    """Its noise belongs to another request: within a replicated sharing, only the noise tells them apart."""
    mine, other = (
        partial_decrypt(team().keys[1], total(), (1, 2), purpose=purpose, profile=PLAN.profile).residues
        for purpose in (Purpose.SLOTS, Purpose.UPDATE)
    )
    assert not np.array_equal(mine, other)


def with_plaintext(coefficient: int, value: int) -> EncryptedVector:
    """The users' sum with a multiple of one power of X added to its first ciphertext."""
    data = data_ring()
    polynomial = np.zeros((5, 8192), dtype=np.uint64)
    polynomial[:, coefficient] = data.constant(value)[:, 0]
    residues = total().residues.copy()
    residues[0, 0] = data.add(residues[0, 0], data.ntt(polynomial))
    return EncryptedVector(SUITE, team().joint.digest, residues)


def test_sums_that_are_not_real_or_too_large_are_seen() -> None:
    imaginary = with_plaintext(4096, 1 << (SCALE_BITS - 10))  # X^(N/2) is i or -i in every slot
    with pytest.raises(BadShareError, match="a sum is too large or not a real number"):
        open_slots(imaginary, answers(imaginary, PLAN), PLAN)
    large = with_plaintext(0, 399 << SCALE_BITS)
    with pytest.raises(BadShareError, match="a sum is too large or not a real number"):
        open_slots(large, answers(large, PLAN), PLAN)
    huge = with_plaintext(0, 900 << SCALE_BITS)
    with pytest.raises(BadShareError, match="a coefficient is out of bounds"):
        open_slots(huge, answers(huge, PLAN), PLAN)


def test_a_vector_under_another_key_is_read_but_does_not_open() -> None:
    foreign = ts.ckks_vector(team(2).context(), user_values(0).tolist()).serialize()
    mixed = aggregate([total(), read(foreign)], most=2)
    with pytest.raises(BadShareError, match="block 0 does not open"):
        open_slots(mixed, answers(mixed, PLAN), PLAN)


def test_opening_something_else_than_planned_is_a_mistake() -> None:
    given = answers(total(), PLAN)
    with pytest.raises(ValueError, match="has not the suite or length of the plan"):
        open_slots(total(), given, replace(PLAN, values=4096))
    with pytest.raises(ValueError, match="has not the suite or length of the plan"):
        open_slots(total(), given, replace(PLAN, noise=replace(PLAN.noise, suite=suite(16384))))
    with pytest.raises(ValueError, match="has not the shape"):
        open_slots(total(), {**given, "member-2": given["member-2"][:, :2]}, PLAN)


# Plans


def test_smudging_and_error_of_a_plan() -> None:
    plan = PLAN
    assert (plan.profile.smudging_bits, plan.profile.dropped) == (95, 2)
    each = 100 * 3 * 8192 * 3 * plan.noise.error_std
    assert plan.smudging_lambda == math.floor(96 - math.log2(each))
    assert plan.error_std == pytest.approx(math.sqrt(8192 / 2 * 3 / 3) * 2.0 ** (95 - SCALE_BITS))
    more = replace(plan, rounds=100 * 1024)
    assert more.smudging_lambda == plan.smudging_lambda - 10
    assert more.profile == plan.profile


@pytest.mark.parametrize("degree", [8192, 16384, 32768])
def test_the_usual_scale_serves_every_committee(degree: int) -> None:
    noise = NoiseBudget.of(suite(degree), ReplicatedSharing(8, 4), 100)
    plan = SlotPlan(noise, 100 * degree, largest=2.0**57, rounds=100)
    assert plan.profile.smudging_bits == 95
    assert plan.error_bound < 1e-9
    assert plan.smudging_lambda >= 50


def test_a_scale_of_90_bits_has_no_room_for_smudging() -> None:
    with pytest.raises(CapacityError, match=r"2\^-\d+ of smudging, with 64 bits of noise within 1e-05 at scale 2\^90"):
        replace(PLAN, scale_bits=90)
    with pytest.raises(CapacityError, match=r"with \d+ bits of noise within 1e-05 at scale 2\^40"):
        replace(PLAN, scale_bits=40)


def test_too_many_rounds_are_refused() -> None:
    assert TIGHT.smudging_lambda >= 40
    with pytest.raises(CapacityError, match="fewer rounds"):
        replace(TIGHT, rounds=1 << (TIGHT.smudging_lambda - 40 + 2))


def test_sums_beyond_the_modulus_are_refused() -> None:
    assert replace(PLAN, largest=2.0**58).largest == 2.0**58
    with pytest.raises(CapacityError, match="exceed the modulus"):
        replace(PLAN, largest=2.0**60)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"values": 0}, "at least one value"),
        ({"rounds": 0}, "at least one round"),
        ({"largest": 0.0}, "positive"),
        ({"largest": math.inf}, "positive"),
        ({"largest": math.nan}, "positive"),
        ({"tolerance": 0.0}, "positive"),
        ({"tolerance": math.nan}, "positive"),
    ],
)
def test_nonsense_in_a_plan_is_a_mistake(change: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(PLAN, **change)  # type: ignore[arg-type]


def test_the_code_of_the_how_to_runs(capsys: pytest.CaptureFixture[str]) -> None:
    document = Path(__file__).parents[3] / "docs" / "how-to" / "tenseal-clients.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"key": team().joint, "member_keys": team().keys}
    exec("".join(blocks), names)  # noqa: S102
    assert np.allclose(np.asarray(names["sums"]), 1.5, atol=1e-10)
    assert "OpeningProfile(smudging_bits=95, dropped=2) 67 1.8" in capsys.readouterr().out
