"""The one check of every integer that privacy rests on.

Spec: dp §1 (v1).
"""

__all__ = ["check_int"]


def check_int(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is not an int in [low, high]. A bool is not an int here, and nor is a numpy integer.

    Raises:
        TypeError: it is no int.
        ValueError: it is out of range.
    """
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], got {value}")
