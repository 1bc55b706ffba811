"""ledger: what a witness cosigns, and what it refuses."""

from ledger import (
    ED25519,
    Checkpoint,
    MemoryWitnessStore,
    SigningKey,
    Tree,
    VerifierKey,
    Witness,
    leaf_hash,
    sign_checkpoint,
)
from tests.vectors.generators.example import Json, bytes_of, failure

ORIGIN, NAME, NOW = "example.org/log", "example.org/witness", 1_800_000_000


def ledger_json() -> Json:
    log_key, key = SigningKey.from_seed(bytes_of("ledger/log")), SigningKey.from_seed(bytes_of("ledger/witness"))
    entries = [f"entry {i}".encode() for i in range(7)]
    leaves = [leaf_hash(entry) for entry in entries]
    tree = Tree(leaves)
    fork = Tree([*leaves[:3], *(leaf_hash(b"other" + entry) for entry in entries[3:])])
    witness = Witness(NAME, key, VerifierKey(ORIGIN, ED25519, log_key.public), MemoryWitnessStore())

    def request(old: int, new: int, grown: Tree, proof: list[bytes] | None = None, by: SigningKey = log_key) -> Json:
        made = grown.consistency_proof(old, new) if old and proof is None else proof or []
        note = sign_checkpoint(Checkpoint(ORIGIN, new, grown.root(new)), by)
        return {"old_size": old, "proof": [p.hex() for p in made], "size": new, "note": note.decode()}

    def ask(asked: Json) -> str:
        proof = [bytes.fromhex(p) for p in asked["proof"]]
        return witness.add_checkpoint(asked["old_size"], proof, asked["note"].encode(), now=NOW)

    accepted = []
    for old, new in ((0, 3), (3, 5)):
        asked = request(old, new, tree)
        accepted.append(asked | {"cosignature": ask(asked)})
    wrong = [bytes(32), *tree.consistency_proof(5, 7)[1:]]
    other = SigningKey.from_seed(bytes_of("ledger/another"))
    cases = [
        ("rolled_back", request(3, 3, tree), "smaller than what the witness has cosigned"),
        ("split_view", request(5, 5, fork, []), "another root for the size it has cosigned"),
        ("other_history", request(5, 7, fork), "the larger tree does not begin with the smaller"),
        ("wrong_proof", request(5, 7, tree, wrong), "the proof leads to other roots"),
        ("proof_from_another_size", request(3, 7, tree), "the proof starts at a size long passed"),
        ("not_signed_by_the_log", request(5, 7, tree, by=other), "signed by another key"),
    ]
    document = {
        "origin": ORIGIN,
        "log_seed": bytes_of("ledger/log").hex(),
        "log_public": log_key.public.hex(),
        "witness": NAME,
        "witness_seed": bytes_of("ledger/witness").hex(),
        "witness_public": key.public.hex(),
        "now": NOW,
        "entries": [entry.decode() for entry in entries],
        "leaves": [leaf.hex() for leaf in leaves],
        "roots": [tree.root(size).hex() for size in range(len(leaves) + 1)],
        "accepted": accepted,
        "state_size": witness.size,
        "failures": [
            {"operation": name, **asked} | failure(lambda asked=asked: ask(asked), why)  # type: ignore[misc]
            for name, asked, why in cases
        ],
    }
    assert witness.size == 5
    return document
