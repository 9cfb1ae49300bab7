"""What a model descends from: the network of a zoo, then every model that regraft made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from regraft.bundle.fields import Fields
from regraft.bundle.format import BundleFiles
from regraft.strategy import TUNING

_MOST_CLASSES = 5


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A network on the way from a zoo to a model.

    Parameters
    ----------
    name : str
        How a user spelled it: of a zoo, or the folder of a bundle.
    task : str
        What it was trained on.
    strategy : str or None
        How regraft made it, see `regraft.strategy.Strategy`; None for a network of a zoo.
    accuracy : float or None
        On its own test pictures, of a model that regraft made.
    created : str or None
        When regraft made it, ISO 8601.
    """

    name: str
    task: str
    strategy: str | None = None
    accuracy: float | None = None
    created: str | None = None

    @property
    def changed_the_network(self) -> bool:
        """Whether weights below the head are other ones than before it."""
        return self.strategy in TUNING


def ancestors_of(files: BundleFiles) -> tuple[Ancestor, ...]:
    """Return what a bundle descends from, oldest first, and last the bundle itself.

    Raises
    ------
    UserError
        If a field of the record is missing or of another type.
    """
    settings = files.settings
    source = settings.child("backbone")
    if source.is_set("ancestors"):
        before = tuple(map(_recorded, source.children("ancestors")))
    else:  # written before ancestors were
        before = (Ancestor(source.text("name"), source.text("trained_on")),)
    itself = Ancestor(
        name=files.path.resolve().name,
        task=shown_classes(settings.texts("classes")),
        strategy=settings.child("strategy").text("name"),
        accuracy=settings.child("test").number("accuracy") if settings.is_set("test") else None,
        created=_created(settings),
    )
    return (*before, itself)


def ancestors_to_json(ancestors: Sequence[Ancestor]) -> list[dict[str, Any]]:
    """Plain values."""
    return [asdict(ancestor) for ancestor in ancestors]


def ancestors_from_json(values: Sequence[Mapping[str, Any]]) -> tuple[Ancestor, ...]:
    """Read back what `ancestors_to_json` gave."""
    return tuple(Ancestor(**value) for value in values)


def shown_classes(classes: Sequence[str]) -> str:
    """Name a task by its classes, the first few of them."""
    more = ", ..." if len(classes) > _MOST_CLASSES else ""
    return f"{', '.join(classes[:_MOST_CLASSES])}{more} ({len(classes)} classes)"


def _recorded(fields: Fields) -> Ancestor:
    return Ancestor(
        name=fields.text("name"),
        task=fields.text("task"),
        strategy=fields.text("strategy") if fields.is_set("strategy") else None,
        accuracy=fields.number("accuracy") if fields.is_set("accuracy") else None,
        created=fields.text("created") if fields.is_set("created") else None,
    )


def _created(settings: Fields) -> str | None:
    made = settings.child("provenance") if settings.is_set("provenance") else None
    return made.text("created") if made is not None and made.is_set("created") else None
