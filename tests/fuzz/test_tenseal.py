"""Why no byte of a peer reaches TenSEAL's parser: one message that ends an honest process, or empties an honest sum."""

import signal
import subprocess
import sys

import pytest

from protocols.errors import DecodeError
from protocols.tckks.compat import read_vector
from tests.fuzz.tckks_targets import SIZES, joint_key, read_stock_vector, stock_message

# A CKKSVectorProto: sizes of chunks (4096, 4096, 808) and scale 2^90, and not one ciphertext. 17 bytes.
MESSAGE = bytes.fromhex("0a0680208020a806190000000000009045")
STOCK_USER = """
import tenseal
context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 60, 60])
context.global_scale = 2.0**90
own = tenseal.ckks_vector(context, [1.0] * 9000)
received = tenseal.ckks_vector_from(context, bytes.fromhex("{message}"))
print("loaded", received.size(), flush=True)
total = {sum}
print("sum", total.size(), len(total.ciphertext()), len(total.decrypt()), flush=True)
"""


def stock(addition: str) -> "subprocess.CompletedProcess[str]":
    """What stock TenSEAL does, in a process of its own."""
    code = STOCK_USER.format(message=MESSAGE.hex(), sum=addition)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_stock_tenseal_dies_of_seventeen_bytes() -> None:
    done = stock("own + received")
    assert "loaded 9000" in done.stdout
    assert "sum" not in done.stdout
    assert done.returncode == -signal.SIGSEGV


def test_stock_tenseal_drops_what_it_should_have_added() -> None:
    done = stock("received + own")
    assert done.returncode == 0, done.stderr
    assert "sum 9000 0 0" in done.stdout  # it says 9000 values, has no ciphertext, and decrypts to nothing


def test_ours_refuses_it() -> None:
    with pytest.raises(DecodeError, match="not a TenSEAL vector of the plan") as caught:
        read_vector(MESSAGE, joint_key(), sender="client-1", values=9000, scale_bits=90)
    assert caught.value.culprits == ("client-1",)
    with pytest.raises(DecodeError, match="where the ciphertext of chunk 0 should begin"):
        read_stock_vector(stock_message([]))  # the same, for the sizes and the scale that the plan calls for
    assert len(stock_message([])) < 17
    assert len(SIZES) == 2
