"""States: what a state's word says, when a question that can be answered with yes or no is put to it.

Senders choose their own words ("NoLeak", "Not Isolated", "Running"), and some send none. Lives here: the questions, the
words, and the answer where there is no word. Not here: which sensor is asked, or whether its reading can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

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
        word = _fold(point.word(value)).replace("abnormal", "alarm")
        if word in self.no_whole or any(part in word for part in self.no):
            return False
        if any(part in word for part in self.unsure):
            return None
        return any(part in word for part in self.yes) or value != 0


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


def _fold(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())
