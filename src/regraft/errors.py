"""The errors that regraft raises on purpose.

`UserError` is for anything the person at the keyboard can mend; its text is safe to show as it
is, and the command line turns it into exit code 2. Everything else is a defect of regraft.
"""

from __future__ import annotations

from collections.abc import Sequence


class RegraftError(Exception):
    """Base class of every error that regraft raises on purpose."""


class UserError(RegraftError, ValueError):
    """Something in the input, the options or the surroundings that the user can mend.

    Parameters
    ----------
    message : str
        Parameter, rule, value and next step, in that order.
    problems : sequence of str
        Further findings of the same input, reported together, one per line.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.message = message
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  - {problem}" for problem in self.problems)]))


class MissingExtraError(RegraftError, ImportError):
    """An optional dependency that the request needs is not installed."""
