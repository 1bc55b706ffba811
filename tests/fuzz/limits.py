"""What one input may take. Apart from `runner`, so that these are there before the project is imported."""

__all__ = ["ACCEPTED", "MEMORY", "SECONDS", "SECONDS_FIRST"]

ACCEPTED = "accepted"
SECONDS = 10
"""The alarm for one input."""
SECONDS_FIRST = 300
"""The alarm for a valid input, which may have code compiled."""
MEMORY = 256 << 20
"""Bytes that a target may need beyond what it needed for its seeds."""
