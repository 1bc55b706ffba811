"""The Python of the how-to pages runs as it stands. (That of the TenSEAL page is run where its users are tested.)"""

import re
from pathlib import Path

import pytest

from ledger import SigningKey, verify_entries

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def code_of(page: str) -> str:
    """All Python blocks of a page, in order."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (FOLDER / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks, page
    return "\n".join(blocks)


def run(page: str) -> dict[str, object]:
    """Run a page in a namespace of its own, which is the result."""
    names: dict[str, object] = {}
    exec(compile(code_of(page), page, "exec"), names)  # noqa: S102
    return names


def test_threshold_ckks(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("threshold-ckks.md")
    assert repr(names["sharing"]) == "ShamirSharing(members=16, threshold=10)"
    assert capsys.readouterr().out == ""


def test_change_the_committee(capsys: pytest.CaptureFixture[str]) -> None:
    run("change-the-committee.md")
    assert capsys.readouterr().out.startswith("member-1@1 ")


def test_rotate_or_revoke_a_key() -> None:
    board = run("rotate-or-revoke-a-key.md")["board"]
    standings = board.replay.standings  # type: ignore[attr-defined]  # names of the page
    assert [key.revoked for key in standings["client-1"].keys] == [True, True, False]
    assert [name for name, standing in standings.items() if not standing.in_force] == ["client-2"]


def test_run_a_small_log(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("run-a-small-log.md")
    alice, context = names["alice"], names["context"]
    assert isinstance(alice, SigningKey)
    entries = [names["one"], *names["eight"]]  # type: ignore[misc]
    assert verify_entries(entries, {"alice": alice.public}, context=context) == [None] * 9  # type: ignore[arg-type]
    assert capsys.readouterr().out == f"alice {alice.public.hex()}\n"


def test_keep_an_odometer() -> None:
    names = run("keep-an-odometer.md")
    assert (names["rounds_left"], len(names["odometer"].status.budgets)) == (2, 2)  # type: ignore[attr-defined]


def test_train_your_own_network() -> None:
    names = run("train-your-own-network.md")
    assert float(str(names["accuracy"])) > 0.7, "the records' words allow 0.87"
    assert names["plan"].privacy.spent() <= 8  # type: ignore[attr-defined]  # names of the page
    names["learner"].build(names["low_rank"])  # type: ignore[attr-defined]


def test_every_page_with_code_is_run() -> None:
    """A new page gets a test here, or is run where its parties are."""
    with_code = {page.name for page in FOLDER.glob("*.md") if "```python" in page.read_text(encoding="utf-8")}
    assert with_code == {
        "change-the-committee.md",
        "keep-an-odometer.md",
        "rotate-or-revoke-a-key.md",
        "run-a-small-log.md",
        "run-on-postgresql.md",
        "tenseal-clients.md",
        "threshold-ckks.md",
        "train-your-own-network.md",
    }
