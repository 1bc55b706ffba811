"""The mathematics: deterministic functions from bytes and arrays to bytes and arrays.

Nothing here opens a file, reads a clock, or asks the operating system for randomness.
"""
