"""Secrets do not print, pickle or copy."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tests.protocols.tckks.committee import committee

SECRETS: dict[str, Callable[[], object]] = {
    "PieceSeed": lambda: committee().seeds[2],
    "PieceKey": lambda: committee().pieces[2],
    "MemberKey": lambda: committee().keys[1],
}


@pytest.mark.parametrize("name", SECRETS)
def test_repr_names_the_party_and_hides_the_rest(name: str) -> None:
    secret = SECRETS[name]()
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert "<secret>" in text
        assert name in text
    hidden = [committee().seeds[2].reveal(), committee().pieces[2].noise_key]
    assert not any(h.hex() in repr(secret) or repr(h) in repr(secret) for h in hidden)
    assert str(int(committee().pieces[2].secret_ntt[0, 0])) not in repr(secret)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy, lambda x: pickle.dumps([x])])
def test_no_pickle_and_no_copy(name: str, take: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        take(SECRETS[name]())


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_can_be_hung_onto_a_secret(name: str) -> None:
    assert not hasattr(SECRETS[name](), "__dict__")
