"""How long work tells whoever is waiting: a seam that the command line fills in."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears what is going on."""

    def start(self, task: str, total: int) -> None:
        """Begin a task of ``total`` steps (0: unknown); ends the one before."""

    def advance(self, steps: int) -> None:
        """So many steps of the current task are done."""

    def finish(self) -> None:
        """End the current task."""

    def say(self, text: str) -> None:
        """Tell one line that matters to the user."""


class Silent:
    """The progress of programs: nothing is shown."""

    def start(self, task: str, total: int) -> None:
        """Ignore a task's beginning."""

    def advance(self, steps: int) -> None:
        """Ignore the steps."""

    def finish(self) -> None:
        """Ignore a task's end."""

    def say(self, text: str) -> None:
        """Ignore a line."""
