"""States: what a state's word says, when a question that can be answered with yes or no is put to it.

Senders choose their own words ("NoLeak", "Not Isolated", "Running"), and some send none. Lives here: the questions, the
words, and the answer where there is no word. Not here: which sensor is asked, or whether its reading can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dcim.core.points import Point


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask a state's word, which is searched for parts without regard to case, blanks and hyphens.

    The lists are tried in the order of the fields, so "NoLeak" is "no" although "leak" is in it.
    """

    no: tuple[str, ...]
    unsure: tuple[str, ...]
    yes: tuple[str, ...]
    no_whole: tuple[str, ...] = ("ok", "off", "false", "no", "clear", "healthy", "good", "inactive")
    """Words that say no only where nothing stands beside them."""

    def ask(self, point: Point, value: float) -> bool | None:
        """Yes, no, or None where the word says that the sender itself cannot tell.

        A value without a word, or with one of which nothing is known, is judged by its number: 0 is no.
        """
        no, unsure, yes = _parts(self, point.word(value))
        return False if no else None if unsure else yes or value != 0


_BROKEN = ("fault", "fail", "error", "trouble", "broken", "disconnect", "offline", "unknown", "invalid")

WET = Question(
    no=(
        *("noleak", "notleak", "nonleak", "nowater", "notwet", "notdetect", "nodetect", "undetect"),
        *("noalarm", "nofault", "dry", "normal"),
    ),
    unsure=_BROKEN,
    yes=("leak", "wet", "alarm", "water", "detect"),
)
"""Is this contact wet?"""

FAULTY = Question(no=("nofault", "notfault", "noerror", "noalarm", "normal"), unsure=("unknown",), yes=_BROKEN)
"""Does this sensor say that it is broken?"""

ISOLATED = Question(no=("notisolat", "noisolat", "unisolat", "open", "normal"), unsure=_BROKEN, yes=("isolat", "close"))
"""Is this branch shut off on purpose?"""

RUNNING = Question(no=("notrun", "stop", "standby", "idle"), unsure=_BROKEN, yes=("run", "on"))
"""Does this pump run?"""


@lru_cache(maxsize=1_024)  # a hall has thousands of contacts and a handful of words
def _parts(question: Question, word: str) -> tuple[bool, bool, bool]:
    """Whether a part of each list is in the word."""
    folded = "".join(letter for letter in word.casefold() if letter.isalnum()).replace("abnormal", "alarm")
    no = folded in question.no_whole or any(part in folded for part in question.no)
    return no, any(part in folded for part in question.unsure), any(part in folded for part in question.yes)
