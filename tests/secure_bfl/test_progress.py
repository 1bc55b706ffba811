"""Progress: bars on a terminal, lines otherwise, silence when asked."""

import io
import sys

import pytest

from secure_bfl.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def play(progress: Progress) -> None:
    with progress:
        progress("rounds", 1, 3)
        progress("rounds", 3, 3)
        progress.say("done [bold]really[/bold]")


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    play(Progress())
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "rounds: 1 of 3\nrounds: 3 of 3\ndone [bold]really[/bold]\n"


def test_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    play(Progress(quiet=True))
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    play(Progress(quiet=True))
    assert terminal.getvalue() == ""


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    play(Progress())
    text = terminal.getvalue()
    assert "rounds" in text
    assert "3/3" in text
    assert "done [bold]really[/bold]" in text, "no markup is read"
    assert "rounds: 1 of 3" not in text
    assert capsys.readouterr().out == ""


def test_bars_stop_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def fail() -> None:
        with Progress() as progress:
            progress("rounds", 1, 3)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert terminal.getvalue().endswith(("\x1b[?25h", "\n")), "the cursor is shown again"
