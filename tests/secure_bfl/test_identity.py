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
