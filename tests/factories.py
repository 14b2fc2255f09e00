"""What many tests make: each function has a value for everything that its caller does not care about."""

from __future__ import annotations


def numbers_of(documents):
    """Return the key ``n`` of made-up documents, in their order."""
    return [document["n"] for document in documents]
