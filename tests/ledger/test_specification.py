"""The worked example of docs/spec/ledger.md is what the code makes."""

import re
from pathlib import Path

from ledger import Log, MemoryStore, MemoryWitnessStore, Value, Witness, leaf_hash, sign_bundle, sign_entry
from tests.ledger.federation import CONTEXT, ORIGIN, key_of

TEXT = (Path(__file__).parents[2] / "docs" / "spec" / "ledger.md").read_text(encoding="utf-8")
EXAMPLE = TEXT[TEXT.index("## 10. Worked example") :]
BLOCKS = re.findall(r"^```\n(.*?)^```$", EXAMPLE, re.DOTALL | re.MULTILINE)


def octets(annotated: str) -> bytes:
    """The bytes of a block of hexadecimal digits with remarks behind them."""
    hexadecimal = re.findall(r"^ *((?:[0-9a-f]{2,}(?: (?! ))?)+)", annotated, re.MULTILINE)
    return bytes.fromhex("".join(hexadecimal))


def test_the_worked_example() -> None:
    annotated, together, keys, note, proof = BLOCKS
    entry = octets(annotated)
    client = key_of("client-1")
    assert entry == sign_entry(1, "client-1", {1: 7, 2: b"\x00\x01"}, client, context=CONTEXT)
    two: list[tuple[int, Value]] = [(1, {1: 7, 2: b"\x00\x01"}), (1, {1: 8, 2: b"\x00\x02"})]
    assert octets(together) == sign_bundle(two, "client-1", client, context=CONTEXT)[0]
    assert f"`{client.public.hex()}`" in EXAMPLE
    assert f"`{leaf_hash(entry).hex()}`" in EXAMPLE
    log = Log(MemoryStore(), ORIGIN, key_of("sequencer"))
    log.append_all([entry, b"second", b"third"])
    witness = Witness("member-1", key_of("member-1"), log.verifier, MemoryWitnessStore())
    assert keys == f"{log.verifier.to_vkey()}\n{witness.verifier.to_vkey()}\n"
    checkpoint = log.checkpoint()
    cosignature = witness.add_checkpoint(0, [], checkpoint, now=1_700_000_000)
    assert note == checkpoint.decode() + cosignature
    assert proof == "".join(f"{item.hex()}\n" for item in log.inclusion_proof(0, 3))
