"""Write the test vectors, or with `--check` compare them byte for byte with what the library makes now.

    python tests/vectors/generate.py            writes secure_bfl/vectors/*.json
    python tests/vectors/generate.py --check    changes nothing; fails where a file differs

All randomness is SHAKE-256 of a label. Large arrays are stored as their SHA-256 (little-endian, row by row) and their
first and last eight values. The generators are in `generators`, one module a subject.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.vectors.generators import ciphers, keys, log, openings, packing, parameters  # noqa: E402
from tests.vectors.generators.example import Json  # noqa: E402

VERSION = 2
FILES: dict[str, tuple[str, str, Callable[[], Json]]] = {
    "suites": (
        "tckks §1",
        "the three presets: primes kept and dropped by answers, special prime, smudging bound",
        parameters.suites_json,
    ),
    "ring": (
        "tckks §2",
        "transform, product, Chinese remainder, division by primes, small uniform coefficients",
        parameters.ring_json,
    ),
    "hash_to_polynomial": ("wire §2", "uniform polynomials from a string", parameters.hash_to_polynomial_json),
    "wire": ("wire §1", "the bytes of messages; thirteen malformed ones", parameters.wire_json),
    "sharing": (
        "tckks §3.1",
        "replicated and Shamir committees: pieces, dealers, assignments, trial sets, Lagrange factors",
        parameters.sharing_json,
    ),
    "noise": (
        "tckks §6",
        "noise bounds, scale, capacity, statistical bits of smudging; plans that do not fit",
        parameters.noise_json,
    ),
    "packing": (
        "packing §1-§4",
        "grid, digits, messages, sums, checksum digit; over-norm values that it sees",
        packing.packing_json,
    ),
    "keygen": (
        "tckks §3",
        "2 of 3, replicated: seeds, ternary secrets, errors, public parts, commitments, the joint key; cheats",
        keys.keygen_json,
    ),
    "dealing": (
        "tckks §3.6",
        "3 of 5, Shamir: sub-shares, masks, digests, challenge, degree proof, joined pieces; six cheating dealers",
        keys.dealing_json,
    ),
    "handover": (
        "tckks §3.8",
        "replicated to Shamir to replicated: old pieces, sub-shares, new pieces of the same sum; disagreeing holders",
        keys.handover_json,
    ),
    "encryption": (
        "tckks §4",
        "seed, stream, u, e0, e1, division by the special prime, ciphertexts; transparent and foreign ones",
        ciphers.encryption_json,
    ),
    "aggregation": ("tckks §5", "the sum of two messages; nine that are not added", ciphers.aggregation_json),
    "decryption": (
        "tckks §5",
        "noise, piece answers before and after division by P, three quorums, opened sums; ten wrong answers, "
        "and a change that is not seen",
        openings.decryption_json,
    ),
    "shamir_decryption": (
        "tckks §5",
        "answers in three active sets of one Shamir committee; answers of a second active set",
        openings.shamir_decryption_json,
    ),
    "dry_run": (
        "tckks §3.4",
        "the test ciphertexts of both kinds of committee, and every answer",
        openings.dry_run_json,
    ),
    "fingerprints": (
        "tckks §5.4",
        "challenge, weights, the fingerprints of pieces and answers; five members convicted",
        openings.fingerprints_json,
    ),
    "ledger": (
        "ledger §2-§4",
        "leaves, roots, checkpoints, consistency proofs, cosignatures; a rolled-back checkpoint and five more refused",
        log.ledger_json,
    ),
}


def rendered(name: str) -> bytes:
    """The bytes of one file."""
    spec, covers, make = FILES[name]
    document = {"vectors": name, "version": VERSION, "spec": f"{spec} (v1)", "covers": covers, **make()}
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write or compare the test vectors.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a file differs")
    parser.add_argument("--folder", type=Path, default=ROOT / "secure_bfl" / "vectors", help="where the files are")
    options = parser.parse_args()
    stale = []
    for name in FILES:
        path, data = options.folder / f"{name}.json", rendered(name)
        if options.check and (not path.exists() or path.read_bytes() != data):
            stale.append(path.name)
        elif not options.check:
            path.write_bytes(data)
    for name in stale:
        print(f"{name} is not what the library makes: a change of behaviour, or run python tests/vectors/generate.py")
    if not stale:
        print(f"{len(FILES)} vector files are {'current' if options.check else 'written'}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
