"""Identities: the keys of a role, and no secret on the outside."""

import copy
import pickle

import pytest

from secure_bfl.errors import KeystoreError
from secure_bfl.identity import Identity, Secrets
from secure_bfl.messages import Role
from secure_bfl.sealing import PUBLIC_KEY_BYTES
from tests.secure_bfl.federation import identity_of


def test_the_keys_of_each_role() -> None:
    operator, member, client = (
        identity_of(name, role).party
        for name, role in (("operator", Role.OPERATOR), ("member-1", Role.MEMBER), ("client-1", Role.CLIENT))
    )
    assert [len(p.signing_key) for p in (operator, member, client)] == [32, 32, 32]
    assert [len(p.note_key) for p in (operator, member, client)] == [32, 32, 0]
    assert [len(p.sealing_key) for p in (operator, member, client)] == [0, PUBLIC_KEY_BYTES, 0]
    assert len({member.signing_key, member.note_key, operator.signing_key, operator.note_key}) == 4


def test_keys_that_a_role_lacks() -> None:
    client = identity_of("client-1", Role.CLIENT)
    with pytest.raises(KeystoreError, match="client-1 signs no notes"):
        _ = client.note
    with pytest.raises(KeystoreError, match="client-1 has no sealing key"):
        _ = client.sealing
    with pytest.raises(KeystoreError, match="operator has no sealing key"):
        _ = identity_of("operator", Role.OPERATOR).sealing


def test_a_keystore_must_hold_every_key() -> None:
    for role in Role:
        for absent in Identity.fresh_secrets(role):
            secrets = Secrets()
            for name, seed in Identity.fresh_secrets(role).items():
                if name != absent:
                    secrets.put(name, seed)
            with pytest.raises(KeystoreError, match=f"somebody: the keystore lacks the {absent} key"):
                Identity("somebody", role, secrets)


def test_fresh_keys_differ() -> None:
    seeds = [seed for role in Role for seed in Identity.fresh_secrets(role).values()]
    assert len(set(seeds)) == len(seeds) == 6
    assert {len(seed) for seed in seeds} == {32}
    one, two = Identity.in_memory("a", Role.CLIENT), Identity.in_memory("a", Role.CLIENT)
    assert one.party != two.party


def test_the_same_seeds_give_the_same_party() -> None:
    assert identity_of("member-1", Role.MEMBER).party == identity_of("member-1", Role.MEMBER).party


def test_kept_secrets_are_not_replaced() -> None:
    secrets = Secrets()
    secrets.put("signing", b"one")
    secrets.put("signing", b"one")
    with pytest.raises(KeystoreError, match="'signing' is already kept with another value"):
        secrets.put("signing", b"two")
    assert secrets.get("signing") == b"one"
    assert secrets.get("note") is None


def test_secret_hygiene() -> None:
    member = identity_of("member-1", Role.MEMBER)
    seeds = [member.secrets.get(name) for name in ("signing", "note", "sealing")]
    for thing, text in ((member, "Identity(member-1, <secret>)"), (member.secrets, "Secrets(<secret>)")):
        assert repr(thing) == str(thing) == text
        assert all(seed is not None and seed.hex() not in repr(thing) for seed in seeds)
        for action in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                action(thing)


def test_who_retires_keeps_its_public_side_only() -> None:
    identity = identity_of("member-1", Role.MEMBER)
    party, seed = identity.party, identity.sealing_seed()
    identity.secrets.put("deal/x", bytes(32))
    assert not identity.retired
    for _ in range(2):
        identity.retire("deal/x")
        assert identity.retired
        assert identity.party == party
        assert identity.secrets.get("sealing") is None
        assert identity.secrets.get("deal/x") is None
        with pytest.raises(KeystoreError, match="member-1 has no sealing key"):
            _ = identity.sealing
        with pytest.raises(KeystoreError, match="lacks the sealing key"):
            identity.sealing_seed()
    again = Identity("member-1", Role.MEMBER, identity.secrets)
    assert again.party == party
    assert len(seed) == 32
    assert again.signing.public == identity.signing.public, "it can still sign"


def test_who_has_no_sealing_key_cannot_retire() -> None:
    with pytest.raises(KeystoreError, match="client-1 has no sealing key"):
        identity_of("client-1", Role.CLIENT).retire()


def test_a_retirement_that_was_cut_short_goes_on() -> None:
    """The mark is durable before the secrets go; a restart in between retires again."""
    identity = identity_of("member-1", Role.MEMBER)
    identity.secrets.put("retired", identity.sealing.public)
    again = Identity("member-1", Role.MEMBER, identity.secrets)
    assert again.retired
    assert again.party == identity.party
    again.retire("deal/x")
    assert again.secrets.get("sealing") is None


def test_discarded_secrets_are_gone() -> None:
    secrets = Secrets()
    secrets.put("a", b"1")
    secrets.put("b", b"2")
    secrets.discard("a", "not there")
    assert (secrets.get("a"), secrets.get("b")) == (None, b"2")
    secrets.put("a", b"3")
    assert secrets.get("a") == b"3"
