"""The roster: exactly the parties of the plan, each with exactly the keys of its role."""

from dataclasses import replace

import pytest

from ledger import DecodeError, byzantine_quorum
from secure_bfl.messages import Genesis, Party, Role
from secure_bfl.plan import FederationPlan
from secure_bfl.roster import OPERATOR, Roster, certificate_quorum, client_name, member_name, member_number
from tests.secure_bfl.federation import digest, identities, identity_of


@pytest.fixture(scope="module")
def genesis(plan: FederationPlan) -> Genesis:
    return Genesis("example.com/log", plan.encode(), tuple(i.party for i in identities(plan).values()))


def changed(genesis: Genesis, name: str, **changes: object) -> Genesis:
    """The genesis with fields of one party changed."""
    return replace(
        genesis,
        parties=tuple(replace(p, **changes) if p.name == name else p for p in genesis.parties),  # type: ignore[arg-type]
    )


def test_names() -> None:
    assert (client_name(3), member_name(12), member_number("member-12")) == ("client-3", "member-12", 12)
    assert (member_name(3, 2), member_number("member-3@2")) == ("member-3@2", 3)


def test_a_right_genesis(genesis: Genesis, plan: FederationPlan) -> None:
    roster = Roster.from_genesis(genesis)
    assert roster.plan == plan
    committee = roster.committee
    assert (committee.epoch, committee.sharing) == (0, plan.sharing)
    assert committee.members == ("member-1", "member-2", "member-3", "member-4")
    assert committee.name(2) == "member-2"
    assert roster.clients == ("client-1", "client-2", "client-3")
    assert tuple(roster.parties) == (OPERATOR, *committee.members, *roster.clients)
    assert committee.policy.needed == 3
    assert [w.name for w in committee.policy.witnesses] == list(committee.members)
    assert committee.policy.log_key.public == roster.parties[OPERATOR].note_key
    assert roster.parties["member-2"].role is Role.MEMBER
    assert "member-5" not in roster.parties


def test_a_later_committee_has_fresh_keys(genesis: Genesis) -> None:
    roster = Roster.from_genesis(genesis)
    parties = tuple(identity_of(member_name(i, 1), Role.MEMBER).party for i in (1, 2, 3))
    committee = roster.next_committee(1, 2, parties, [roster.committee])
    assert (committee.epoch, committee.sharing.threshold, committee.policy.needed) == (1, 2, 3)
    assert committee.members == ("member-1@1", "member-2@1", "member-3@1")
    old = roster.parties["member-1"]
    for field in ("signing_key", "note_key", "sealing_key"):
        again = (replace(parties[0], **{field: getattr(old, field)}), *parties[1:])
        with pytest.raises(DecodeError, match=r"member-1@1 has a key that was used before"):
            roster.next_committee(1, 2, again, [roster.committee])
    renamed = tuple(replace(party, name=member_name(i, 2)) for i, party in enumerate(parties, start=1))
    with pytest.raises(DecodeError, match="used before"):
        roster.next_committee(2, 2, renamed, [roster.committee, committee])
    for wrong in (parties[1:], parties[::-1], (*parties[:2], replace(parties[2], role=Role.CLIENT))):
        with pytest.raises(DecodeError, match=r"members of epoch 1 are not member-1@1 to"):
            roster.next_committee(1, 2, wrong, [roster.committee])
    with pytest.raises(ValueError, match="threshold"):
        roster.next_committee(1, 4, parties, [roster.committee])


def test_quorums_share_a_member_outside_any_coalition() -> None:
    for members in range(2, 9):
        for threshold in range(2, members + 1):
            quorum = certificate_quorum(members, threshold)
            assert byzantine_quorum(members) <= quorum <= members
            assert 2 * quorum - members > threshold - 1, "more in common than the largest coalition has"
            assert quorum >= threshold
            least = quorum == byzantine_quorum(members) or 2 * (quorum - 1) - members <= threshold - 1
            assert least, "no larger than it must be"
    assert [certificate_quorum(5, t) for t in (2, 3, 4, 5)] == [4, 4, 5, 5]


def test_exactly_the_parties_of_the_plan(genesis: Genesis) -> None:
    parties = genesis.parties
    extra = replace(parties[-1], name="client-4", signing_key=digest("key"))
    wrong: list[tuple[Party, ...]] = [
        (),
        parties[:-1],
        parties[1:],
        (*parties, extra),
        (*parties, parties[-1]),
        (*parties[:-1], extra),
        (replace(parties[0], name="operator-2"), *parties[1:]),
    ]
    for some in wrong:
        with pytest.raises(DecodeError, match="exactly the parties of its plan"):
            Roster.from_genesis(replace(genesis, parties=some))
    with pytest.raises(DecodeError, match="exactly the parties of its plan"):
        Roster.from_genesis(changed(genesis, "client-1", role=Role.MEMBER))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("operator", "note_key", b""),
        ("operator", "sealing_key", bytes(32)),
        ("member-1", "note_key", b""),
        ("member-1", "note_key", bytes(31)),
        ("member-1", "sealing_key", b""),
        ("member-1", "sealing_key", bytes(32)),
        ("client-1", "note_key", bytes(32)),
        ("client-1", "sealing_key", bytes(32)),
    ],
)
def test_keys_of_the_role(genesis: Genesis, name: str, field: str, value: bytes) -> None:
    with pytest.raises(DecodeError, match=name):
        Roster.from_genesis(changed(genesis, name, **{field: value}))


def test_no_key_stands_twice(genesis: Genesis) -> None:
    by_name = {party.name: party for party in genesis.parties}
    with pytest.raises(DecodeError, match="two parties share a signing key"):
        Roster.from_genesis(changed(genesis, "client-2", signing_key=by_name["client-1"].signing_key))
    with pytest.raises(ValueError, match="registered for two witnesses"):
        Roster.from_genesis(changed(genesis, "member-2", note_key=by_name["member-1"].note_key))
    with pytest.raises(ValueError, match="registered as a witness"):
        Roster.from_genesis(changed(genesis, "member-2", note_key=by_name["operator"].note_key))


def test_the_plan_must_be_possible(genesis: Genesis, plan: FederationPlan) -> None:
    with pytest.raises(DecodeError):
        Roster.from_genesis(replace(genesis, plan=plan.encode()[:-1]))
