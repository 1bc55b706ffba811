"""The test vectors as the library makes them, by subject."""
