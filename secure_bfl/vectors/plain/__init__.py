"""The protocols in Python integers: the standard library alone, and nothing of the project.

Each `*_documents` module computes whole vector files again; `verify` compares them with what is stored.
"""

__all__ = ["verify"]
