"""The plan: what is impossible is refused before anything runs, by `create` and by `decode` alike."""

import dataclasses
import math
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import MAX_ENTRY, DecodeError, LedgerError, SigningKey, Value, cbor, sign_entry
from protocols.dp import Mode, epsilon_pld
from protocols.errors import CapacityError, ProtocolError
from protocols.packing import checksum_modulus, digit_width
from protocols.tckks import ReplicatedSharing, ShamirSharing
from secure_bfl.feasibility import MAX_CLIENTS, MAX_DIGIT_WIDTH, MAX_ROUNDS
from secure_bfl.messages import Genesis, Party, Role
from secure_bfl.model import linear_layout
from secure_bfl.plan import FederationPlan
from secure_bfl.sealing import PUBLIC_KEY_BYTES
from secure_bfl.training import DATASETS
from secure_bfl.training import settings as training_of


def whole_run(plan: FederationPlan) -> float:
    """Epsilon of everything that the plan allows one client."""
    return epsilon_pld([plan.round_event] * plan.rounds, plan.delta, dim=plan.values)


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"members": 5, "threshold": 6}, ValueError, "threshold 6 exceeds the 5 members"),
    ({"threshold": 1}, ValueError, "at least 2"),
    ({"members": 1, "threshold": 1}, ValueError, "a committee has 2 to"),
    ({"members": 33}, ValueError, "a committee has 2 to"),
    ({"clients": 1}, ValueError, "with one client the opened sum would be that client's own update"),
    ({"clients": 0}, ValueError, "clients, not 0"),
    ({"clients": MAX_CLIENTS + 1}, ValueError, f"clients, not {MAX_CLIENTS + 1}"),
    ({"clients": 600, "dataset": "breast-cancer"}, ValueError, "455 training records cannot be split over 600 clients"),
    ({"minimum_clients": 1}, ValueError, "minimum_clients must be 2 to 10, not 1"),
    ({"minimum_clients": 11}, ValueError, "minimum_clients must be 2 to 10, not 11"),
    ({"epsilon": math.nan}, ValueError, "epsilon must be a positive finite number, not nan"),
    ({"epsilon": math.inf}, ValueError, "epsilon must be a positive finite number, not inf"),
    ({"epsilon": -1.0}, ValueError, "epsilon must be a positive finite number, not -1.0"),
    ({"epsilon": 0.0}, ValueError, "epsilon must be a positive finite number, not 0.0"),
    ({"epsilon": 0.0009}, ValueError, "epsilon must be at least 0.001"),
    ({"epsilon": 101.0}, ValueError, "epsilon must be above 0 and at most 100"),
    ({"epsilon": 0.001}, ValueError, "use fewer steps or a larger epsilon"),
    ({"delta": math.nan}, ValueError, "delta must be at least 1e-10 and below 1, not nan"),
    ({"delta": 0.0}, ValueError, "delta must be at least 1e-10"),
    ({"delta": 9e-11}, ValueError, "delta must be at least 1e-10"),
    ({"delta": 1.0}, ValueError, "below 1, not 1.0"),
    ({"rounds": 0}, ValueError, f"rounds must be 1 to {MAX_ROUNDS}, not 0"),
    ({"rounds": MAX_ROUNDS + 1}, ValueError, "rounds must be"),
    ({"dataset": "unknown"}, ValueError, "unknown dataset 'unknown'; choose one of breast-cancer, digits"),
    (
        {"digit_bits": 19, "mode": Mode.LOCAL},
        CapacityError,
        "10 clients of 16-bit values need digits of 20 bits, the plan has 19",
    ),
    ({"digit_bits": 19}, CapacityError, r"10 clients of \d+-bit values need digits of \d+ bits, the plan has 19"),
    ({"digit_bits": MAX_DIGIT_WIDTH + 1}, CapacityError, f"at most {MAX_DIGIT_WIDTH}"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_ARGUMENTS, ids=lambda value: str(value)[:40])
def test_create_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FederationPlan.create(**arguments)


BAD_FIELDS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"clients": 1, "minimum_clients": 1}, ValueError, "with one client"),
    ({"clients": MAX_CLIENTS + 1}, ValueError, "clients, not"),
    ({"minimum_clients": 1}, ValueError, "minimum_clients"),
    ({"minimum_clients": 4}, ValueError, "minimum_clients"),
    ({"threshold": 5}, ValueError, "exceeds the 4 members"),
    ({"threshold": 1}, ValueError, "decrypt alone"),
    ({"members": 33}, ValueError, "a committee"),
    ({"rounds": 0}, ValueError, "rounds must be"),
    ({"rounds": MAX_ROUNDS + 1}, ValueError, "rounds must be"),
    ({"average_from": 0}, ValueError, "average_from"),
    ({"average_from": 3}, ValueError, "average_from"),
    ({"tensors": linear_layout(2_000_000, 10)}, ValueError, "parameters"),
    ({"classes": 1}, ValueError, "two classes"),
    ({"local_steps": 0}, ValueError, "1 to 1000000 steps in all"),
    ({"expected_batch": 0}, ValueError, "expected batch"),
    ({"learning_rate_micro": 0}, ValueError, "learning rate"),
    ({"momentum_milli": 1000}, ValueError, "momentum"),
    ({"momentum_milli": -1}, ValueError, "momentum"),
    ({"epsilon_milli": 0}, ValueError, "epsilon must be above 0"),
    ({"epsilon_milli": -1}, ValueError, "epsilon must be above 0"),
    ({"epsilon_milli": 100_001}, ValueError, "at most 100"),
    ({"delta_e12": 99}, ValueError, "delta at least 1e-10"),
    ({"delta_e12": 10**12}, ValueError, "below 1"),
    ({"digit_width": 17}, CapacityError, r"need digits of \d+ bits, the plan has 17"),
    ({"digit_width": 49}, CapacityError, "at most 48"),
    ({"value_bits": 33}, ValueError, "value_bits"),
    ({"step_bits": -1}, ValueError, "step_bits"),
    ({"clip_units": 1}, ValueError, "clip_units"),
    ({"clip_norm_micro": 0}, ValueError, "clip_norm_micro"),
    ({"noise_multiplier_milli": 1}, ValueError, "noise_multiplier_milli"),
    ({"sampling_rate_ppm": 0}, ValueError, "sampling_rate_ppm"),
    ({"sampling_rate_ppm": 1_000_001}, ValueError, "sampling_rate_ppm"),
    ({"ring_degree": 4096}, ValueError, "no suite has ring degree 4096"),
    ({"rounds": MAX_ROUNDS}, CapacityError, "statistical distance"),
    ({"local_steps": 500_001}, ValueError, "1 to 1000000 steps in all"),
    ({"dataset": "Upper"}, ValueError, "dataset's name"),
    ({"dataset": "two words"}, ValueError, "dataset's name"),
    ({"dataset": "x" * 65}, ValueError, "dataset's name"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD_FIELDS, ids=lambda value: str(value)[:40])
def test_decode_refuses_what_create_refuses(
    plan: FederationPlan, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        replace(plan, **changes)
    fields = dict(zip([f.name for f in dataclasses.fields(plan)], cast("list[Value]", plan.to_value()), strict=True))
    fields |= {name: [t.to_value() for t in v] if name == "tensors" else v for name, v in changes.items()}
    with pytest.raises(error, match=message):
        FederationPlan.decode(cbor.encode(list(fields.values())))


def test_a_run_fits_its_budget_and_a_little_less_noise_does_not() -> None:
    for dataset in DATASETS:
        for epsilon in (1.0, 8.0):
            plan = FederationPlan.create(dataset, epsilon=epsilon)
            assert 0.9 * epsilon < whole_run(plan) <= plan.epsilon == epsilon
            quieter = replace(plan, noise_multiplier_milli=plan.noise_multiplier_milli * 98 // 100)
            assert whole_run(quieter) > epsilon


def test_noise_falls_as_the_budget_grows() -> None:
    noises = [FederationPlan.create(epsilon=e).noise_multiplier_milli for e in (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)]
    assert noises == sorted(noises, reverse=True)
    assert len(set(noises)) == len(noises)


def test_noise_grows_with_rounds_and_falls_with_delta() -> None:
    noises = [FederationPlan.create(rounds=rounds).noise_multiplier_milli for rounds in (1, 5, 10, 50)]
    assert noises == sorted(noises)
    assert len(set(noises)) == len(noises)
    loose, tight = (FederationPlan.create(delta=delta).noise_multiplier_milli for delta in (1e-3, 1e-10))
    assert loose < tight


@pytest.mark.parametrize("epsilon", ["0.29", "2.01", "4.35", "7.003", "8.0"])
def test_a_budget_is_what_was_written(epsilon: str) -> None:
    """Not a thousandth less because of binary fractions."""
    assert FederationPlan.create(epsilon=float(epsilon)).epsilon_milli == int(epsilon.replace(".", "").ljust(4, "0"))
    assert FederationPlan.create(delta=1.1e-6).delta_e12 == 1_100_000


@given(
    st.sampled_from(["digits", "breast-cancer"]),
    st.integers(2, 300),
    st.integers(2, 6),
    st.integers(1, 40),
    st.floats(0.5, 20),
    st.sampled_from([1e-3, 1e-5, 1e-6]),
)
@settings(max_examples=40)
def test_round_trip(dataset: str, clients: int, members: int, rounds: int, epsilon: float, delta: float) -> None:
    plan = FederationPlan.create(
        dataset,
        clients=clients,
        members=members,
        threshold=max(2, members // 2 + 1),
        rounds=rounds,
        epsilon=epsilon,
        delta=delta,
    )
    data = plan.encode()
    assert FederationPlan.decode(data) == plan
    assert FederationPlan.decode(data).encode() == data
    assert plan.epsilon <= epsilon < plan.epsilon + 0.001
    assert plan.delta <= delta < plan.delta + 1e-12


def test_decode_accepts_one_spelling(plan: FederationPlan) -> None:
    data, fields = plan.encode(), plan.to_value()
    assert isinstance(fields, list)
    for wrong in (b"", data[:-1], data + b"\x00", b"\x9f" + data[2:] + b"\xff", bytes(70_000)):
        with pytest.raises(DecodeError):
            FederationPlan.decode(wrong)
    for value in (fields[:-1], [*fields, 0], ["", *fields[1:]], ["x" * 257, *fields[1:]], [*fields[:-1], b"8192"], 0):
        with pytest.raises(DecodeError):
            FederationPlan.decode(cbor.encode(value))


@given(st.data())
@settings(max_examples=200)
def test_hostile_plans_raise_only_what_is_said(plan: FederationPlan, data: st.DataObject) -> None:
    fields = plan.to_value()
    assert isinstance(fields, list)
    integers = st.integers(-2, 64) | st.integers(-(2**64), 2**64 - 1) | st.sampled_from([8192, 16384, 32768, 10**6])
    for _ in range(data.draw(st.integers(1, 3))):
        fields[data.draw(st.integers(1, len(fields) - 1))] = data.draw(integers)
    try:
        decoded = FederationPlan.decode(cbor.encode(fields))
    except (LedgerError, ProtocolError, ValueError):
        return
    assert decoded.to_value() == fields
    assert decoded.smudging_lambda >= 40


def test_derived_properties() -> None:
    plan = FederationPlan.create("digits", clients=10, members=5, threshold=3, rounds=10, epsilon=2.5, delta=1e-6)
    assert (plan.mode, plan.local_steps, plan.unit_of_privacy) == (Mode.DISTRIBUTED, 1, "record")
    assert plan.parameters == 65 * 10 == 650
    assert (plan.epsilon, plan.delta) == (2.5, 1e-6)
    assert plan.minimum_clients == 7
    assert plan.values == plan.parameters + plan.sentinels == 906
    assert plan.expected_batch == 144
    assert (plan.grid.value_bits, plan.grid.step_bits) == (plan.value_bits, plan.step_bits)
    assert (plan.mechanism.clip_units, plan.mechanism.clip_norm_micro) == (plan.clip_units, plan.clip_norm_micro)
    assert plan.mechanism.noise_multiplier_milli == plan.noise_multiplier_milli
    assert plan.mechanism.sampling_rate_ppm == plan.sampling_rate_ppm == 1_000_000
    event = plan.round_event
    assert (event.noise_multiplier_milli, event.sampling_rate_ppm) == (plan.noise_multiplier_milli, 1_000_000)
    assert event.steps == plan.local_steps
    assert plan.suite.ring_degree == plan.ring_degree == 8192
    assert (plan.sharing.members, plan.sharing.threshold, plan.sharing.pieces) == (5, 3, math.comb(5, 2))
    budget = plan.noise_budget
    assert (budget.addends, budget.answers, budget.clients) == (10, 10, 10)
    assert (plan.answers, plan.committee_changes, plan.checksum_digit, plan.dry_runs) == (10, 0, 0, 1)
    assert plan.layout.width == plan.digit_width == digit_width(plan.grid, 10)
    assert plan.layout.largest >= 10 * plan.grid.largest
    assert plan.blocks == plan.layout.blocks(906) == 1
    assert plan.coefficients_opened == 8192 * (10 * 1 + 1)
    assert plan.smudging_lambda == plan.noise_budget.smudging_lambda(plan.coefficients_opened) >= 40
    assert plan.describe() == {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
    plan.check_suite()


def test_three_tenths_may_drop_out_and_a_sum_is_never_of_one() -> None:
    assert [FederationPlan.create(clients=c).minimum_clients for c in (2, 3, 4, 9, 10)] == [2, 3, 3, 7, 7]
    assert FederationPlan.create(clients=10, minimum_clients=10).minimum_clients == 10


def test_training_may_be_given() -> None:
    training = replace(training_of("digits", Mode.LOCAL), records=100, local_steps=3, rounds=4)
    plan = FederationPlan.create("own-data", clients=5, training=training)
    assert (plan.dataset, plan.rounds, plan.local_steps, plan.expected_batch) == ("own-data", 4, 3, 20)
    assert FederationPlan.decode(plan.encode()) == plan


def test_a_large_model_takes_the_larger_ring() -> None:
    wide = replace(training_of("digits", Mode.DISTRIBUTED), record_shape=(8192 * 4,), classes=2)
    plan = FederationPlan.create("wide", training=wide)
    assert plan.ring_degree == 16384
    assert plan.blocks == -(-plan.parameters // plan.layout.values_per_block)


def test_a_long_run_takes_a_ring_with_room_for_its_smudging() -> None:
    short, long = FederationPlan.create(rounds=40), FederationPlan.create(rounds=MAX_ROUNDS)
    assert (short.ring_degree, long.ring_degree) == (8192, 16384)
    with pytest.raises(CapacityError, match=r"at most 2\^-\d+, where at most 2\^-40 is demanded"):
        replace(long, ring_degree=8192)


def test_a_committee_of_any_size_up_to_32() -> None:
    plan = FederationPlan.create("digits", members=16, threshold=10)
    assert plan.sharing == ShamirSharing(16, 10)
    assert (plan.noise_budget.addends, plan.answers, plan.dry_runs) == (10, 10, 2)
    assert plan.coefficients_opened == plan.ring_degree * (
        plan.rounds * plan.blocks * 7 + 2
    )  # seven honest members, each in its own set
    assert FederationPlan.decode(plan.encode()) == plan
    assert FederationPlan.create("digits", members=32, threshold=32).answers == 32


def test_room_for_later_committees_is_planned() -> None:
    plan = FederationPlan.create("digits", committee_changes=3, answers=20)
    assert plan.dry_runs == 1 + 3 * 16
    assert plan.coefficients_opened == plan.ring_degree * (plan.rounds * plan.blocks + plan.dry_runs)
    assert plan.noise_budget.admits(ReplicatedSharing(6, 3))
    assert not FederationPlan.create("digits").noise_budget.admits(ReplicatedSharing(6, 4))
    assert plan.noise_budget.scale_shift > FederationPlan.create("digits").noise_budget.scale_shift
    for answers in (9, 71):
        with pytest.raises(CapacityError, match="holds 10 smudging noises; the plan must leave room for so many"):
            FederationPlan.create("digits", answers=answers)
    for changes in (-1, 1001):
        with pytest.raises(ValueError, match=r"committee_changes must be 0 to 1000"):
            FederationPlan.create("digits", committee_changes=changes)


def test_a_checksum_digit_takes_the_place_of_values() -> None:
    plan, plain = FederationPlan.create("digits", checksum_digit=True), FederationPlan.create("digits")
    assert plan.layout.checksum == checksum_modulus(plan.grid, plan.digit_width)
    assert plan.layout.values_per_block == plain.layout.values_per_block - plan.ring_degree
    assert FederationPlan.decode(plan.encode()) == plan
    with pytest.raises(ValueError, match="checksum_digit must be 0 or 1, not 2"):
        replace(plan, checksum_digit=2)


def test_frozen(plan: FederationPlan) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.rounds = 3  # type: ignore[misc]  # the point


def test_an_epsilon_too_small_for_the_sampler_is_said_in_plain_words() -> None:
    with pytest.raises(ValueError, match=r"epsilon 0.004 over 10 rounds needs noise of .* more than can be drawn"):
        FederationPlan.create("digits", mode=Mode.LOCAL, epsilon=0.004)


def test_everybody_fits_the_genesis_entry() -> None:
    """The largest committees leave room for fewer clients; what the plan allows really fits."""
    with pytest.raises(ValueError, match=r"600 clients and 32 members do not fit .* at most 421 clients"):
        FederationPlan.create("digits", clients=600, members=32, threshold=17)
    assert FederationPlan.create("digits", clients=100).ring_degree == 8192
    plan = FederationPlan.create("digits", clients=421, members=32, threshold=17)
    parties = tuple(
        Party(f"{name}-{number}", role, bytes(32), bytes(notes), bytes(sealing))
        for name, role, count, notes, sealing in (
            ("operator", Role.OPERATOR, 1, 32, 0),
            ("member", Role.MEMBER, plan.members, 32, PUBLIC_KEY_BYTES),
            ("client", Role.CLIENT, 999, 0, 0),
        )
        for number in range(1 if name != "client" else 579, count + 1)
    )
    assert len(parties) == 1 + 32 + 421
    genesis = Genesis("o" * 256, plan.encode(), parties)
    entry = sign_entry(genesis.kind, "operator", genesis.to_value(), SigningKey.from_seed(bytes(32)), context=b"")
    assert len(entry) <= MAX_ENTRY
