"""Every way in which a log can show two forks to a committee of which f members lie, for f = 1 and f = 2.

The log shows each honest member one fork, the other, both in either order, or nothing. Liars cosign whatever they are
shown. The members, their stores, the cosignatures and the policies are real.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import pytest

from ledger import (
    ED25519,
    Checkpoint,
    ConsistencyError,
    EquivocationError,
    MemoryWitnessStore,
    Note,
    NoteSignature,
    Policy,
    QuorumError,
    Tree,
    VerifierKey,
    Witness,
    byzantine_quorum,
    cosign,
    leaf_hash,
    parse_note,
    sign_checkpoint,
)
from ledger.note import parse_signature_line
from ledger.policy import Certificate, verify_progress
from ledger.policy_file import TrustedLog, TrustedWitness, TrustPolicy, WitnessGroup
from tests.ledger.federation import ORIGIN, key_of

LOG = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
COMMON = 4  # entries that the forks share
TREES = {
    "A": Tree([leaf_hash(b"%d" % i) for i in range(12)]),
    "B": Tree([leaf_hash(b"%d" % i) for i in range(COMMON)] + [leaf_hash(b"other")] * 8),
}
SIZES = ({"A": 8, "B": 8}, {"A": 8, "B": 12}, {"A": 12, "B": 8})
SHOWN = ("", "A", "B", "AB", "BA")


def _note(fork: str, size: int) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, TREES[fork].root(size)), key_of("sequencer"))


@dataclass(frozen=True)
class Scene:
    """A committee and the sizes at which it is shown the two forks."""

    names: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]

    def note(self, fork: str) -> bytes:
        return _note(fork, dict(self.sizes)[fork])

    def cosigned_by_an_honest(self, name: str, shown: str) -> dict[str, NoteSignature]:
        """What an honest member, which has cosigned the common part, cosigns of what it is shown, asked repeatedly."""
        witness = Witness(name, key_of(name), LOG, MemoryWitnessStore())
        witness.add_checkpoint(0, [], _note("A", COMMON), now=0)
        lines = {}
        for fork in shown:
            new, old = dict(self.sizes)[fork], witness.size
            for start in (old, COMMON):  # the proof it asks for, and the one the log has
                proof = TREES[fork].consistency_proof(start, new) if start < new else []
                with suppress(ConsistencyError, EquivocationError):
                    lines[fork] = parse_signature_line(witness.add_checkpoint(start, proof, self.note(fork), now=1))
        return lines

    def certified(self, policy: Policy | TrustPolicy, fork: str, signers: frozenset[str]) -> bool:
        """Whether these members' cosignatures certify a fork, by the policy itself."""
        parsed = parse_note(self.note(fork))
        lines = (parse_signature_line(cosign(self.note(fork), n, key_of(n), now=1)) for n in sorted(signers))
        try:
            policy.verify(Note(parsed.text, (*parsed.signatures, *lines)).encode())
        except QuorumError:
            return False
        return True


def _scenes(n: int) -> Iterator[Scene]:
    names = tuple(f"w{i}" for i in range(n))
    yield from (Scene(names, tuple(sizes.items())) for sizes in SIZES)


def _policy(scene: Scene) -> Policy:
    keys = tuple(Witness(n, key_of(n), LOG, MemoryWitnessStore()).verifier for n in scene.names)
    return Policy(ORIGIN, LOG, keys)


def _weaker(scene: Scene, quorum: int) -> TrustPolicy:
    """A policy that `Policy` refuses: fewer cosignatures than n - f."""
    witnesses = tuple(TrustedWitness(key.name, key) for key in _policy(scene).witnesses)
    return TrustPolicy((TrustedLog(LOG),), witnesses, (WitnessGroup("g", quorum, scene.names),), "g")


def _conflicts(scene: Scene, policy: Policy | TrustPolicy, shown_to_each: tuple[str, ...]) -> tuple[int, int]:
    """How many assignments certify both forks, and how many there are, over all choices of the liars."""
    f = (len(scene.names) - 1) // 3
    honest = {
        (name, shown): scene.cosigned_by_an_honest(name, shown) for name in scene.names for shown in shown_to_each
    }
    certified = cache(scene.certified)
    conflicts = total = 0
    for liars in combinations(scene.names, f):
        others = [name for name in scene.names if name not in liars]
        for shown in product(shown_to_each, repeat=len(others)):
            lines = [honest[pair] for pair in zip(others, shown, strict=True)]
            both = (
                frozenset(liars) | {name for name, cosigned in zip(others, lines, strict=True) if fork in cosigned}
                for fork in "AB"
            )
            total += 1
            conflicts += all(certified(policy, fork, signers) for fork, signers in zip("AB", both, strict=True))
    return conflicts, total


@pytest.mark.parametrize("scene", list(_scenes(4)), ids=str)
@pytest.mark.parametrize("shown", SHOWN)
def test_an_honest_member_cosigns_the_first_fork_it_is_shown_and_never_the_other(scene: Scene, shown: str) -> None:
    assert "".join(scene.cosigned_by_an_honest("w0", shown)) == shown[:1]


@pytest.mark.parametrize("n", [4, 7])
def test_no_assignment_certifies_two_forks(n: int) -> None:
    for scene in _scenes(n):
        conflicts, total = _conflicts(scene, _policy(scene), SHOWN if n == 4 else ("", "A", "B"))
        assert (conflicts, total) == (0, 4 * 5**3 if n == 4 else 21 * 3**5)


def test_the_order_in_which_both_forks_are_shown_to_seven_does_not_matter() -> None:
    scene = next(_scenes(7))
    assert _conflicts(scene, _policy(scene), ("A", "B", "AB", "BA")) == (0, 21 * 4**5)


@pytest.mark.parametrize(("n", "conflicts", "total"), [(4, 12, 27), (7, 50, 243)])
def test_one_cosignature_fewer_would_admit_conflicts(n: int, conflicts: int, total: int) -> None:
    """12 of 27 assignments at n = 4, 50 of 243 at n = 7, for each choice of the liars."""
    scene = next(_scenes(n))
    policy = _weaker(scene, byzantine_quorum(n) - 1)
    choices = 4 if n == 4 else 21
    assert _conflicts(scene, policy, ("", "A", "B")) == (conflicts * choices, total * choices)
    assert _conflicts(scene, _weaker(scene, byzantine_quorum(n)), ("", "A", "B")) == (0, total * choices)


def test_a_stale_certificate_is_found_by_what_the_client_remembers() -> None:
    scene = Scene(tuple(f"w{i}" for i in range(4)), (("A", 8), ("B", 8)))
    policy = _policy(scene)

    def certificate(size: int) -> Certificate:
        note = _note("A", size)
        return policy.verify(note + "".join(cosign(note, n, key_of(n), now=1) for n in scene.names[:3]).encode())

    old, new = certificate(8), certificate(12)  # both are good: the policy alone cannot tell which is stale
    verify_progress(old, new, TREES["A"].consistency_proof(8, 12))
    with pytest.raises(ConsistencyError, match="a stale view: size 8 is shown, 12 was seen"):
        verify_progress(new, old, [])
