"""Results that nobody but the part itself can have written: a key a part, of which the flow can make each again.

A flow has the run's key. The process of a part gets the part's own, which follows from the run's and from where its
result goes; so it can seal that one result and no other. Neither is ever in the store.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

KEY_VARIABLE = "DP2O_RESULT_KEY"
"""Has the part's key where a part runs."""


def part_key(run_key: bytes, result_key: str) -> str:
    """Key of the part whose result has that key in the store: HMAC-SHA256, hex."""
    return hmac.digest(run_key, f"part\0{result_key}".encode(), "sha256").hex()


def seal(key: str, result_key: str, content: dict[str, Any]) -> str:
    """HMAC-SHA256, hex, over a result and where it goes."""
    text = json.dumps([result_key, content], sort_keys=True, separators=(",", ":"))
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()


def holds(given: str, key: str, result_key: str, content: dict[str, Any]) -> bool:
    """Whether `given` is that seal."""
    # as bytes: of text it takes ASCII alone, and who forges a seal may write anything
    return hmac.compare_digest(given.encode(errors="replace"), seal(key, result_key, content).encode())
