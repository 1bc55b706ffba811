"""Checks of the facts' fields: each raises TypeError or ValueError that names the field."""

__all__ = ["MAX_INT", "check_digest", "check_int", "check_names", "check_text", "check_tuple"]

_MAX_TEXT = 256
MAX_INT = 2**53 - 1  # every JSON reader keeps integers up to here exact
_DIGEST_SIZE = 32


def check_int(name: str, value: int, low: int, high: int = MAX_INT) -> None:
    """Refuse what is not an int in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}")


def check_text(name: str, value: str) -> None:
    """Refuse what is not a short printable text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError(f"{name} must be 1 to {_MAX_TEXT} printable characters, got {value[:40]!r}")


def check_digest(name: str, value: bytes) -> None:
    """Refuse what is not a SHA-256 digest."""
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    if len(value) != _DIGEST_SIZE:
        raise ValueError(f"{name} must be {_DIGEST_SIZE} bytes, got {len(value)}")


def check_tuple(name: str, value: tuple[object, ...], item: type) -> None:
    """Refuse what is not a tuple of `item`."""
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a tuple, not {type(value).__name__}")
    for index, element in enumerate(value):
        if not isinstance(element, item):
            raise TypeError(f"{name}[{index}] must be {item.__name__}, not {type(element).__name__}")


def check_names(name: str, value: tuple[str, ...]) -> None:
    """Refuse what is not a tuple of different names."""
    check_tuple(name, value, str)
    for element in value:
        check_text(name, element)
    if len(set(value)) != len(value):
        raise ValueError(f"{name} names a client twice: {', '.join(value)}")
