"""What was found among the pictures and does not take part, or is at odds with itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regraft.data.records import Skipped
from regraft.data.splits import Conflict, Splits


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What takes no part, and why.

    Parameters
    ----------
    skipped : tuple of Skipped
        What could not be read, or was no candidate.
    dropped : tuple of Skipped
        Pictures of train that stand in a later part too, or others of their group do.
    conflicts : tuple of Conflict
        The same picture under several labels.
    """

    skipped: tuple[Skipped, ...]
    dropped: tuple[Skipped, ...]
    conflicts: tuple[Conflict, ...]

    @classmethod
    def of(cls, skipped: tuple[Skipped, ...], splits: Splits) -> LeftOut:
        """Gather what was skipped, and what did not get into the parts."""
        return cls(skipped, splits.dropped, splits.conflicts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the owner of the pictures may want to know."""
        notes = []
        if self.dropped:
            count, verb = _counted(len(self.dropped), "was", "were")
            notes.append(
                f"{count} {verb} dropped: it, or another of its group, also stands in a later part"
                if len(self.dropped) == 1
                else f"{count} {verb} dropped: they, or others of their group, also stand in a "
                "later part"
            )
        if self.conflicts:
            count, verb = _counted(len(self.conflicts), "stands", "stand")
            notes.append(f"{count} {verb} under more than one label")
        return tuple(notes)

    def as_dict(self) -> dict[str, Any]:
        """Give all as JSON values."""
        return {
            "skipped": [{"path": s.path, "reason": s.reason} for s in self.skipped],
            "dropped": [{"path": s.path, "reason": s.reason} for s in self.dropped],
            "conflicts": [
                {"paths": list(c.paths), "labels": list(c.labels)} for c in self.conflicts
            ],
        }


def _counted(count: int, one: str, more: str) -> tuple[str, str]:
    return ("1 picture", one) if count == 1 else (f"{count} pictures", more)
