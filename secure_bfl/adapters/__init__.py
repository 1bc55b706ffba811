"""Foreign training libraries behind our own types: one module a library, its only importer.

Nothing is imported here, so that a user of one library need not have the others.
"""

__all__ = ["opacus"]
