"""What is printed of strangers' texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import DecodeError, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Spital Zürich, 東京 + é", "Spital Zürich, 東京 + é"),
        ("\x1b[2J\x9b1;32m", "\\x1b[2J\\x9b1;32m"),
        ("a\x7f\u202eb\u2066\u200b\ufeff", "a\\x7f\\u202eb\\u2066\\u200b\\ufeff"),
        ("one\ntwo\r\x85\u2028\u00a0", "one\\ntwo\\r\\x85\\u2028\\xa0"),
        ("\ud800\U000e0001", "\\ud800\\U000e0001"),
        (DecodeError("bad \x00 name"), "bad \\x00 name"),
    ],
)
def test_what_is_no_print_is_escaped(text: object, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text())
def test_it_is_one_printable_line(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(escaped(text)) == escaped(text)
