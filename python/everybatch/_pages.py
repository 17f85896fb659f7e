"""Pages of one file: what a browser is to refuse them."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["policy"]


def policy(script: str) -> str:
    """Return the Content-Security-Policy of a page: nothing may be fetched, and no script may run but its own."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
