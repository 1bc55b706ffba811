"""The certificate in a decryption request: of this log, of enough of it, by enough members."""

from ledger import CosigningWitness, Log, MemoryStore, MemoryWitnessStore, Policy, Witness, certify
from secure_bfl.messages import Aggregate, AggregateVote, DecryptionRequest
from tests.secure_bfl.federation import NOW, digest
from tests.secure_bfl.script import Script, check_ignored


def fresh_request(script: Script, size: int, **changes: object) -> DecryptionRequest:
    """The request of round 1 with a certificate over the first `size` entries of the legal run."""
    return script.request(1, certificate=certificate_of([s.data for s in script.steps[:size]], script), **changes)


def certificate_of(entries: list[bytes], script: Script, *, cosigners: int = 4) -> bytes:
    """A certificate by new witnesses (with the same keys) of a log with these entries."""
    note = script.identities["operator"].note
    log = Log(MemoryStore(), script.log.origin, note)
    log.append_all(entries)
    witnesses: dict[str, CosigningWitness | None] = {
        name: Witness(name, script.identities[name].note, log.verifier, MemoryWitnessStore())
        for name in script.members[:cosigners]
    }
    keys = [w.verifier for w in witnesses.values() if isinstance(w, Witness)]
    return certify(log, witnesses, Policy(log.origin, log.verifier, tuple(keys)), now=NOW).note


def test_the_certificate_must_cover_the_aggregate(script: Script) -> None:
    index = script.first(DecryptionRequest)
    replay, aggregated = script.replay(index), script.first(Aggregate)
    assert replay.refuses(script.sign(fresh_request(script, aggregated + 1), "operator")) is None
    assert replay.refuses(script.sign(fresh_request(script, index), "operator")) is None
    listed = check_ignored(replay, script.sign(fresh_request(script, aggregated), "operator"), hostile=True)
    assert listed.reason == "the certificate does not cover the aggregate"
    replay = script.replay(index)
    listed = check_ignored(replay, script.sign(fresh_request(script, index + 1), "operator"), hostile=True)
    assert listed.reason == "the certificate does not cover the aggregate"


def test_the_certificate_must_be_of_this_log(script: Script) -> None:
    index = script.first(DecryptionRequest)
    entries = [s.data for s in script.steps[:index]]
    entries[-1], entries[-2] = entries[-2], entries[-1]
    body = script.request(1, certificate=certificate_of(entries, script))
    listed = check_ignored(script.replay(index), script.sign(body, "operator"), hostile=True)
    assert listed.reason == "the certificate is of another log"


def test_the_certificate_must_verify(script: Script) -> None:
    index = script.first(DecryptionRequest)
    entries = [s.data for s in script.steps[:index]]
    good = certificate_of(entries, script)
    lines = good.split(b"\n")
    few = certificate_of(entries, script, cosigners=2)
    spoiled = good[:-20] + bytes([good[-20] ^ 1]) + good[-19:]
    for note in (b"", b"text\n", few, b"\n".join(lines[:4]) + b"\n", spoiled):
        body = script.request(1, certificate=note)
        listed = check_ignored(script.replay(index), script.sign(body, "operator"), hostile=True)
        assert listed.reason.startswith("the request's certificate does not verify")


def test_members_of_another_opinion_are_not_asked(script: Script) -> None:
    replay = script.replay(script.first(AggregateVote))
    assert replay.ignored == []
    replay.apply(script.sign(script.vote(1, digest("another sum")), "member-1"))
    for name in script.members[1:]:
        replay.apply(script.sign(script.vote(1, digest("sum", 1)), name))
    assert replay.ignored == []
    assert replay.rounds[0].agreeing() == script.members[1:]
    size = script.first(Aggregate) + 1
    listed = check_ignored(replay, script.sign(fresh_request(script, size), "operator"), hostile=True)
    assert listed.reason == "the active set is 2 members that computed the aggregate"
    assert replay.refuses(script.sign(fresh_request(script, size, active=(2, 3)), "operator")) is None
