"""Policy files: the grammar of C2SP tlog-policy, what a trust policy accepts, and which of them a federation takes."""

import dataclasses
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import COSIGNATURE_V1, ED25519, Checkpoint, DecodeError, Policy, QuorumError, SignatureError, VerifierKey
from ledger.checkpoint import sign_checkpoint
from ledger.cosign import cosign, cosigner
from ledger.mldsa import MlDsaKey
from ledger.note import MLDSA44, NoteSignature
from ledger.policy import read_policy
from ledger.policy_file import (
    MAX_POLICY_FILE,
    TrustedLog,
    TrustedWitness,
    TrustPolicy,
    WitnessGroup,
    parse_policy_file,
)
from tests.ledger.federation import ORIGIN, Federation, key_of

LOG = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
KEYS = {name: cosigner(f"example.com/{name}", key_of(name)) for name in NAMES}
VKEYS = {name: key.to_vkey() for name, key in KEYS.items()}
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), key_of("sequencer"))
# the example of the specification, with keys
EXAMPLE = f"""
log {LOG.to_vkey()}

witness X1 {VKEYS["X1"]}
witness X2 {VKEYS["X2"]}
witness X3 {VKEYS["X3"]}
group X-witnesses 2 X1 X2 X3

witness Y1 {VKEYS["Y1"]}
witness Y2 {VKEYS["Y2"]}
witness Y3 {VKEYS["Y3"]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def _cosigned(*names: str) -> bytes:
    return NOTE + "".join(cosign(NOTE, f"example.com/{name}", key_of(name), now=1) for name in names).encode()


def test_the_example_of_the_specification() -> None:
    policy = parse_policy_file(EXAMPLE.encode())
    assert policy.logs == (TrustedLog(LOG),)
    assert policy.witnesses == tuple(TrustedWitness(name, KEYS[name]) for name in NAMES)
    assert policy.groups == (
        WitnessGroup("X-witnesses", 2, ("X1", "X2", "X3")),
        WitnessGroup("Y-witnesses", 1, ("Y1", "Y2", "Y3")),
        WitnessGroup("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    )
    assert (policy.quorum, policy.needed) == ("X-and-Y", 3)
    assert parse_policy_file(policy.encode()) == policy


def test_every_set_of_cosigners_of_the_example_is_judged_by_its_rule() -> None:
    policy = parse_policy_file(EXAMPLE.encode())
    for count in range(7):
        for names in combinations(NAMES, count):
            if sum(name[0] == "X" for name in names) >= 2 and any(name[0] == "Y" for name in names):
                found = policy.verify(_cosigned(*names))
                assert (found.checkpoint, found.log, found.cosigners) == (Checkpoint(ORIGIN, 3, bytes(32)), LOG, names)
                assert found.note == _cosigned(*names)
            else:
                with pytest.raises(QuorumError) as caught:
                    policy.verify(_cosigned(*names))
                assert caught.value.have == names
                assert set(caught.value.missing) == set(NAMES) - set(names)


def test_a_missed_quorum_says_which_groups_lack_members() -> None:
    with pytest.raises(QuorumError) as caught:
        parse_policy_file(EXAMPLE.encode()).verify(_cosigned("X1", "Y1", "Y2"))
    assert caught.value.reasons == ("group X-witnesses has 1 of 2", "group X-and-Y has 1 of 2")


def test_whitespace_comments_and_octets() -> None:
    text = b"".join(
        (
            f"# a comment: \u00e9\t#\n \t\n\tlog \t {LOG.to_vkey()}  https://log.example/\u00e9 \n  # b\n".encode(),
            f"witness K {VKEYS['X1']} https://w.example\nwitness \u212a {VKEYS['X2']}\n".encode(),
            b"witness \\\xff#1 " + VKEYS["X3"].encode() + b"\n",
            b"group g 2 K \xe2\x84\xaa \\\xff#1\n",
        )
    )
    policy = parse_policy_file(text + b"quorum g\n")
    assert policy.logs[0].url == "https://log.example/\u00e9"
    assert [(w.name, w.url) for w in policy.witnesses] == [
        ("K", "https://w.example"),
        ("\u212a", None),
        ("\\\udcff#1", None),
    ]
    assert policy.needed == 2
    assert parse_policy_file(policy.encode()) == policy
    assert b"\\\xff#1" in policy.encode()


def test_a_single_witness_or_none_as_the_quorum() -> None:
    one = parse_policy_file(f"log {LOG.to_vkey()}\nwitness X1 {VKEYS['X1']}\nquorum X1\n".encode())
    assert one.verify(_cosigned("X1")).cosigners == ("X1",)
    with pytest.raises(QuorumError):
        one.verify(NOTE)
    nobody = parse_policy_file(f"log {LOG.to_vkey()}\nwitness X1 {VKEYS['X1']}\nquorum none\n".encode())
    assert (nobody.verify(NOTE).cosigners, nobody.needed) == ((), 0)
    assert nobody.verify(_cosigned("X1")).cosigners == ("X1",)


def test_any_listed_log_may_have_signed_and_one_must() -> None:
    mldsa = MlDsaKey.from_seed(bytes(32))
    other = cosigner("example.com/other", mldsa)
    policy = TrustPolicy((TrustedLog(other), TrustedLog(LOG)))
    assert policy.verify(NOTE).log == LOG
    text = NoteSignature("x", bytes(4), b"s").line()
    unsigned = f"{Checkpoint(other.name, 3, bytes(32)).text()}\n{text}".encode()
    assert policy.verify(unsigned + cosign(unsigned, other.name, mldsa, now=0).encode()).log == other
    for note in (unsigned, sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), key_of("stranger"))):
        with pytest.raises(SignatureError, match="not signed by a log of this policy"):
            policy.verify(note)
    # a listed key that signs the checkpoint of another origin
    misplaced = unsigned + cosign(unsigned, ORIGIN, mldsa, now=0).encode()
    with pytest.raises(SignatureError, match="not signed by a log of this policy"):
        TrustPolicy((TrustedLog(cosigner(ORIGIN, mldsa)),)).verify(misplaced)
    with pytest.raises(ValueError, match="lists no log"):
        TrustPolicy(()).verify(NOTE)
    with pytest.raises(DecodeError):
        policy.verify(b"garbage")


def test_a_bad_signature_under_a_known_key_refuses_the_note() -> None:
    policy = parse_policy_file(EXAMPLE.encode())
    for key, size in ((KEYS["Y3"], 72), (LOG, 64)):
        bad = NoteSignature(key.name, key.key_id, bytes(size)).line().encode()
        with pytest.raises(SignatureError, match="is bad"):
            policy.verify(_cosigned("X1", "X2", "Y1") + bad)
    unknown = cosign(NOTE, "example.com/X3", key_of("stranger"), now=1).encode()
    assert policy.verify(_cosigned("X1", "X2", "Y1") + unknown).cosigners == ("X1", "X2", "Y1")


X1, X2 = f"witness X1 {VKEYS['X1']}\n", f"witness X2 {VKEYS['X2']}\n"
BOTH = cosigner("both", MlDsaKey.from_seed(bytes(32))).to_vkey()  # one signature of type 0x06 would be taken for two
SAME = VerifierKey("another-name", COSIGNATURE_V1, key_of("X1").public).to_vkey()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has a quorum line"),
        (X1, "has a quorum line"),
        (X1 + "quorum X1", "does not end in a newline"),
        (X1 + "quorum X1\nquorum X1\n", "line 3 .* one quorum line"),
        ("quorum X1\n" + X1, "line 1 .* X1 is not defined on a line before"),
        (X1 + "quorum g\ngroup g 1 X1\n", "line 2 .* g is not defined"),
        ("group g 1 X1\n" + X1 + "quorum g\n", "line 1 .* X1 is not defined"),
        (X1 + "group g 1 g\nquorum g\n", "g is not defined"),
        (X1 + "group g 1 none\nquorum g\n", "none is not defined"),
        (X1 + "group g 0 X1\nquorum g\n", "decimal number"),
        (X1 + "group g 2 X1\nquorum g\n", "1 to as many"),
        (X1 + "group g 01 X1\nquorum g\n", "decimal number"),
        (X1 + "group g +1 X1\nquorum g\n", "decimal number"),
        (X1 + "group g ALL X1\nquorum g\n", "decimal number"),
        (X1 + "group g 99999999999999999999 X1\nquorum g\n", "decimal number"),
        (X1 + "group g any\nquorum g\n", "not a log, witness, group or quorum line"),
        (X1 + "group g\nquorum g\n", "not a log, witness, group or quorum line"),
        (X1 + X2 + "group g 1 X1 X1\nquorum g\n", "member of groups twice"),
        (X1 + X2 + "group g 1 X1\ngroup h 1 X1 X2\nquorum h\n", "member of groups twice"),
        (X1 + X2 + "group X2 1 X1\nquorum X2\n", "X2 is defined twice"),
        (X1 + f"witness X1 {VKEYS['X2']}\nquorum X1\n", "X1 is defined twice"),
        (X1 + f"witness X9 {VKEYS['X1']}\nquorum X1\n", "listed for a witness twice"),
        (X1 + f"witness X9 {SAME}\nquorum X1\n", "listed for a witness twice"),
        (f"log {LOG.to_vkey()}\nlog {LOG.to_vkey()}\nquorum none\n", "listed for a log twice"),
        (f"witness none {VKEYS['X1']}\nquorum none\n", "predefined"),
        (X1 + "group none 1 X1\nquorum none\n", "predefined"),
        (f"log {VerifierKey('l', 1, key_of('X1').public).to_vkey()}\n{X1}quorum none\n", "for a log and for a witness"),
        (f"log {BOTH}\nwitness W {BOTH}\nquorum W\n", "for a log and for a witness"),
        (f"log {VKEYS['X1']}\nquorum none\n", "0x01 or 0x06"),
        (f"witness W {LOG.to_vkey()}\nquorum W\n", "0x04 or 0x06"),
        ("log x+00000000+AAAA\nquorum none\n", "not a verifier key"),
        ("log garbage\nquorum none\n", "name\\+keyid\\+base64"),
        ("log\nquorum none\n", "not a log, witness"),
        (f"log {LOG.to_vkey()} url more\nquorum none\n", "not a log, witness"),
        (f"witness W {VKEYS['X1']} url more\nquorum W\n", "not a log, witness"),
        ("witness W\nquorum W\n", "not a log, witness"),
        ("quorum\n", "not a log, witness"),
        ("quorum none more\n", "not a log, witness"),
        ("Quorum none\n", "not a log, witness"),
        ("quorum none # a comment\n", "not a log, witness"),
        ("quorum none\r\n", "octet 0x0d at 11"),
        ("quorum none\n\0", "octet 0x00 at 12"),
        ("quorum none\n#\x7f\n", "octet 0x7f at 13"),
        ("\x0bquorum none\n", "octet 0x0b at 0"),
        ("quorum\u00a0none\n", "not a log, witness"),
        ("quorum none\n" + "#" * MAX_POLICY_FILE, "is over"),
        ("".join(f"log {VerifierKey('l', 1, key_of(str(i)).public).to_vkey()}\n" for i in range(257)) + "quorum none\n",
         "at most 256"),
    ],
)  # fmt: skip
def test_each_rule_of_the_specification_is_kept(text: str, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        parse_policy_file(text.encode())


@given(st.binary(max_size=60) | st.text("quorm negp#\t\n1X", max_size=60).map(str.encode))
def test_any_bytes_are_a_policy_or_refused(data: bytes) -> None:
    try:
        policy = parse_policy_file(data)
    except DecodeError:
        return
    assert parse_policy_file(policy.encode()) == policy


def test_a_trust_policy_is_checked_on_construction() -> None:
    witness = TrustedWitness("w", KEYS["X1"])
    makers: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: TrustPolicy((), (witness,), (), "other"), "the quorum other is not defined"),
        (lambda: TrustPolicy((), (witness,), (WitnessGroup("w", 1, ("w",)),)), "w is defined twice"),
        (lambda: TrustPolicy((), (witness, TrustedWitness("w", KEYS["X2"]))), "one name"),
        (lambda: TrustPolicy((), (), (WitnessGroup("g", 1, ("w",)),)), "w is not defined before"),
        (lambda: WitnessGroup("g", 0, ("w",)), "1 to as many"),
        (lambda: WitnessGroup("two words", 1, ("w",)), "one word"),
        (lambda: TrustedWitness("", KEYS["X1"]), "one word"),
        (lambda: TrustedWitness("w", KEYS["X1"], "two words"), "one word"),
        (lambda: TrustedWitness("\udcc3\udca9", KEYS["X1"]), "as a policy file spells it"),
        (lambda: TrustedWitness("\ud800", KEYS["X1"]), "surrogates"),
        (lambda: TrustedLog(LOG, "a\nb"), "one word"),
        (lambda: TrustedLog(VerifierKey("a\x7f", ED25519, LOG.public)), "one word"),
        (lambda: TrustedLog(KEYS["X1"]), "0x01 or 0x06"),
        (lambda: TrustedWitness("w", LOG), "0x04 or 0x06"),
    )
    for make, words in makers:
        with pytest.raises(ValueError, match=words):
            make()


# The policies of federations, as files


def test_a_policy_survives_its_file() -> None:
    policy = Federation().policy
    mixed = dataclasses.replace(
        policy, witnesses=(*policy.witnesses[1:], cosigner("member-1", MlDsaKey.from_seed(bytes(32))))
    )
    assert {key.kind for key in mixed.witnesses} == {COSIGNATURE_V1, MLDSA44}
    for each in (policy, mixed, dataclasses.replace(policy, quorum=5)):
        assert read_policy(each.to_file()) == each
    urls = {ORIGIN: "https://log.example", "member-2": "https://w2.example/prefix"}
    read = parse_policy_file(policy.to_file(urls))
    assert [log.url for log in read.logs] == ["https://log.example"]
    assert {w.name: w.url for w in read.witnesses if w.url} == {"member-2": "https://w2.example/prefix"}
    assert read_policy(policy.to_file(urls)) == policy
    with pytest.raises(ValueError, match="neither the log nor a witness"):
        policy.to_file({"member-9": "https://w9.example"})
    with pytest.raises(ValueError, match="predefined"):
        Policy(ORIGIN, LOG, (cosigner("none", key_of("X1")),)).to_file()


def test_the_file_of_a_policy_means_the_same_to_any_reader() -> None:
    federation = Federation()
    federation.log.append(b"entry")
    certificate = federation.certify()
    read = parse_policy_file(federation.policy.to_file())
    found = read.verify(certificate.note)
    assert (found.checkpoint, found.cosigners) == (certificate.checkpoint, certificate.cosigners)
    assert read.needed == federation.policy.needed == 4


def _flat(count: int, threshold: int | str) -> str:
    names = NAMES[:count]
    witnesses = "".join(f"witness {name} {VKEYS[name]}\n" for name in names)
    return f"log {LOG.to_vkey()}\n{witnesses}group g {threshold} {' '.join(names)}\nquorum g\n"


def test_a_federation_takes_no_quorum_that_could_certify_a_conflict() -> None:
    for count, least in ((1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5)):
        for threshold in range(1, count + 1):
            text = _flat(count, threshold).encode()
            if threshold >= least:
                assert read_policy(text).needed == threshold
                continue
            with pytest.raises(DecodeError, match=f"{threshold} of {count} is too weak: fewer than {least}"):
                read_policy(text)
    assert read_policy(_flat(4, "all").encode()).needed == 4
    assert read_policy(f"log {LOG.to_vkey()}\n{X1}quorum X1\n".encode()).needed == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (EXAMPLE, "not one group of all witnesses"),
        (f"log {LOG.to_vkey()}\nquorum none\n", "not one group of all"),
        (f"log {LOG.to_vkey()}\n{X1}quorum none\n", "not one group of all"),
        (f"log {LOG.to_vkey()}\n{X1}{X2}quorum X1\n", "not one group of all"),
        (f"log {LOG.to_vkey()}\n{X1}{X2}group g 1 X1\nquorum g\n", "not one group of all"),
        (f"log {LOG.to_vkey()}\n{X1}group g 1 X1\ngroup h 1 g\nquorum h\n", "not one group of all"),
        (f"log {LOG.to_vkey()}\n{X1}group g 1 X1\ngroup h 1 g\nquorum g\n", "not one group of all"),
        (f"{X1}quorum X1\n", "lists 0 logs"),
        (f"log {LOG.to_vkey()}\nlog {VerifierKey('x', 1, key_of('x').public).to_vkey()}\n{X1}quorum X1\n", "lists 2"),
        (f"log {cosigner('l', MlDsaKey.from_seed(bytes(32))).to_vkey()}\n{X1}quorum X1\n", "0x01"),
        (f"log {VerifierKey('l', 1, key_of('X1').public).to_vkey()}\n{X1}quorum X1\n", "for a log and for a witness"),
        ("garbage\n", "line 1"),
    ],
)  # fmt: skip
def test_a_federation_refuses_other_files(text: str, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        read_policy(text.encode())
