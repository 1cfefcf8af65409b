"""The two families of errors, one tree for the whole product.

    DcimError
    ├── Transient    the same call may work later: try again, with back-off
    └── Permanent    the same input fails again: put it aside, count it, tell a person

Lives here: the families and what every error carries. Not here: the translation of a library's errors (each rim module
does its own, in one place) and the reasons for which a reading is refused (ledger.py)."""

from __future__ import annotations


class DcimError(Exception):
    """Anything that this product raises on purpose. Raise one of the two families, never this class.

    what: what happened, in plain words. where: the file, setting, address or asset that it happened at, or "".
    todo: what the reader can do about it, or "". The three make one line for a person: `where: what. todo`.

    >>> str(Permanent("port 1883 is taken", where="listener a", todo="Choose another one in bind."))
    'listener a: port 1883 is taken. Choose another one in bind.'
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        head = f"{where}: {what}" if where else what
        super().__init__(f"{head}. {todo}" if todo else head)


class Transient(DcimError):  # noqa: N818  the family is the name: Transient | Permanent
    """The world was not ready: refused, timed out, full, busy. The same call may work later."""


class Permanent(DcimError):  # noqa: N818
    """The input or the set-up is wrong: the same call fails again until somebody changes something."""
