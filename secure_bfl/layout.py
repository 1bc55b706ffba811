"""Where the files of a run are: what is public, and what is whose.

<out>/public/   ledger/ (C2SP tiles and checkpoint)  blobs/  anchors/  model.safetensors
                budget-report.{json,md,html}
<out>/private/  run.json  <party>/ keystore, passphrase.txt (demo only), journal.sqlite, odometer.jsonl, outbox/,
                witness.sqlite, log.sqlite, founded; lock files beside what they guard
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["PrivateFolder", "PublicFolder"]


@dataclass(frozen=True, slots=True)
class PublicFolder:
    """All that an auditor needs, and nothing secret."""

    path: Path

    @classmethod
    def of(cls, folder: Path) -> "PublicFolder":
        """The public folder of a run's folder, or the folder itself if it is the public one."""
        if (folder / "ledger").exists():  # it is the public folder: nothing inside may stand in for it
            return cls(folder)
        return cls(folder / "public")

    @property
    def parts(self) -> tuple[Path, ...]:
        """All that belongs there."""
        report = (self.report_json, self.report_markdown, self.report_html)
        return (self.ledger, self.blobs, self.anchors, self.model, *report)

    @property
    def ledger(self) -> Path:
        """The published log."""
        return self.path / "ledger"

    @property
    def blobs(self) -> Path:
        """Ciphertexts, answers, public parts of the key, and models, by SHA-256."""
        return self.path / "blobs"

    @property
    def anchors(self) -> Path:
        """Proofs, `<size>.tlog-proof`, that checkpoints of this log are in logs of others."""
        return self.path / "anchors"

    @property
    def model(self) -> Path:
        """The model to use."""
        return self.path / "model.safetensors"

    @property
    def report_json(self) -> Path:
        """The privacy budget report."""
        return self.path / "budget-report.json"

    @property
    def report_markdown(self) -> Path:
        """The same, to read as text."""
        return self.path / "budget-report.md"

    @property
    def report_html(self) -> Path:
        """The same, with plots."""
        return self.path / "budget-report.html"


@dataclass(frozen=True, slots=True)
class PrivateFolder:
    """One party's own state."""

    path: Path

    @property
    def keystore(self) -> Path:
        """The encrypted secrets."""
        return self.path / "keystore"

    @property
    def passphrase(self) -> Path:
        """A throw-away passphrase; written by the demo only."""
        return self.path / "passphrase.txt"

    @property
    def journal(self) -> Path:
        """Single-use claims."""
        return self.path / "journal.sqlite"

    @property
    def odometer(self) -> Path:
        """A client's privacy spending."""
        return self.path / "odometer.jsonl"

    @property
    def outbox(self) -> Path:
        """A client's ciphertexts that may be sent."""
        return self.path / "outbox"

    @property
    def witness(self) -> Path:
        """What a member cosigned last."""
        return self.path / "witness.sqlite"

    @property
    def log(self) -> Path:
        """The operator's log."""
        return self.path / "log.sqlite"
