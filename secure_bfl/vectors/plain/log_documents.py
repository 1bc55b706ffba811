"""ledger, computed from the specifications it is built on."""

from .arithmetic import Json, bytes_of, caught, sha
from .log import Signer, Witness, checkpoint_text, consistency_proof, root

__all__ = ["ledger"]

ORIGIN, NAME, NOW = "example.org/log", "example.org/witness", 1_800_000_000


def ledger() -> Json:
    """A log of seven entries, its witness, and what the witness refuses."""
    log, signer = Signer(ORIGIN, bytes_of("ledger/log")), Signer(NAME, bytes_of("ledger/witness"))
    entries = [f"entry {i}".encode() for i in range(7)]
    leaves = [sha(b"\0" + entry) for entry in entries]
    forked = [*leaves[:3], *(sha(b"\0other" + entry) for entry in entries[3:])]

    def request(old: int, new: int, tree: list[bytes], proof: list[bytes] | None = None) -> Json:
        made = consistency_proof(tree[:new], old) if old else []
        text = checkpoint_text(ORIGIN, new, root(tree[:new]))
        proof = made if proof is None else proof
        return {"old_size": old, "proof": [p.hex() for p in proof], "size": new, "note": log.note(text)}

    def ask(witness: Witness, asked: Json, tree: list[bytes]) -> str:
        proof = [bytes.fromhex(p) for p in asked["proof"]]
        return witness.add(asked["old_size"], proof, asked["size"], root(tree[: asked["size"]]), asked["note"], NOW)

    witness = Witness(signer, log)
    accepted = []
    for old, new in ((0, 3), (3, 5)):
        asked = request(old, new, leaves)
        accepted.append(asked | {"cosignature": ask(witness, asked, leaves)})
    wrong = request(5, 7, leaves, [bytes(32), *consistency_proof(leaves, 5)[1:]])
    unsigned = request(5, 7, leaves)
    unsigned["note"] = Signer(ORIGIN, bytes_of("ledger/another")).note(checkpoint_text(ORIGIN, 7, root(leaves)))
    cases = [
        ("rolled_back", request(3, 3, leaves), leaves),
        ("split_view", request(5, 5, forked, []), forked),
        ("other_history", request(5, 7, forked), forked),
        ("wrong_proof", wrong, leaves),
        ("proof_from_another_size", request(3, 7, leaves), leaves),
        ("not_signed_by_the_log", unsigned, leaves),
    ]
    return {
        "origin": ORIGIN,
        "log_seed": bytes_of("ledger/log").hex(),
        "log_public": log.public.hex(),
        "witness": NAME,
        "witness_seed": bytes_of("ledger/witness").hex(),
        "witness_public": signer.public.hex(),
        "now": NOW,
        "entries": [entry.decode() for entry in entries],
        "leaves": [leaf.hex() for leaf in leaves],
        "roots": [root(leaves[:size]).hex() for size in range(len(leaves) + 1)],
        "accepted": accepted,
        "state_size": 5,
        "failures": [
            {"operation": name, **asked} | caught(lambda asked=asked, tree=tree: ask(witness, asked, tree))
            for name, asked, tree in cases
        ],
    }
