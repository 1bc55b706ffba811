"""A log published into a folder, and the folder's files."""

from pathlib import Path

from ledger import publish
from tests.ledger.federation import Federation


def published(folder: Path, *sizes: int) -> Federation:
    """Grow a log to each size in turn, and publish it each time."""
    federation = Federation()
    for size in sizes:
        publish(federation.log, federation.grow(size - federation.log.size), folder)
    return federation


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
