"""How many examples a property is tried with: a quarter of what its author chose in the default run, which people wait
for, and all of them where DCIM_THOROUGH is set, as the slow run does."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("DCIM_THOROUGH"))


def examples(count: int) -> int:
    """For `max_examples`."""
    return count if THOROUGH else max(10, count // 4)
