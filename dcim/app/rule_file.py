"""The rule file while the service runs.

Lives here: that it is a file of rules. Not here: how files are followed (followed.py), the format (alerts.rules), what
the engine and the detector of limits make of other rules."""

from __future__ import annotations

from pathlib import Path

from alerts import rules
from alerts.rules import Ruleset
from dcim.app.followed import PACE_S, Followed


class RuleFile(Followed[Ruleset]):
    """Keeps the rules in force what the file says."""

    def __init__(self, file: Path, pace_s: float = PACE_S) -> None:
        super().__init__("rule file", [file], lambda: rules.load(file), pace_s)
