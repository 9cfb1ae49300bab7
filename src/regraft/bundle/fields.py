"""Reading JSON that may have been edited by hand: every value checked, every complaint exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, TypeVar

from regraft.errors import UserError

_Choice = TypeVar("_Choice", bound=str)


class Fields:
    """One JSON object, with access by type.

    Parameters
    ----------
    values : Mapping
        The object.
    where : str
        What to call it in complaints: a file, then the keys that lead to it.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._where = where

    def text(self, key: str) -> str:
        """Return a string; `UserError` where it is none (likewise in the other methods)."""
        value = self._get(key)
        if isinstance(value, str):
            return value
        raise self._refuse(key, "a text", value)

    def choice(self, key: str, allowed: Sequence[_Choice]) -> _Choice:
        """Return one of the strings in `allowed`."""
        value = self._get(key)
        for option in allowed:
            if value == option:
                return option
        raise self._refuse(key, "one of " + ", ".join(map(repr, allowed)), value)

    def integer(self, key: str) -> int:
        """Return a whole number."""
        value = self._get(key)
        if type(value) is int:
            return value
        raise self._refuse(key, "a whole number", value)

    def is_set(self, key: str) -> bool:
        """Whether the key is there with something but null."""
        return self._values.get(key) is not None

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self._get(key)
        if _is_number(value):
            return float(value)
        raise self._refuse(key, "a number", value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            raise self._refuse(key, "a list of texts", values)
        return tuple(values)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of finite numbers."""
        values = self._list(key)
        if not all(_is_number(value) for value in values):
            raise self._refuse(key, "a list of numbers", values)
        return tuple(float(value) for value in values)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        values = self._list(key)
        if not all(type(value) is int for value in values):
            raise self._refuse(key, "a list of whole numbers", values)
        return tuple(values)

    def child(self, key: str) -> Fields:
        """Return an object within this one."""
        value = self._get(key)
        if not isinstance(value, Mapping):
            raise self._refuse(key, "an object", value)
        return Fields(value, f"{self._where}: {key}")

    def children(self, key: str) -> tuple[Fields, ...]:
        """Return a list of objects."""
        values = self._list(key)
        if not all(isinstance(value, Mapping) for value in values):
            raise self._refuse(key, "a list of objects", values)
        return tuple(Fields(value, f"{self._where}: {key}") for value in values)

    def _get(self, key: str) -> Any:
        if key not in self._values:
            raise UserError(f"{self._where}: {key} is missing; the bundle was edited or is damaged")
        return self._values[key]

    def _list(self, key: str) -> list[Any]:
        value = self._get(key)
        if isinstance(value, list):
            return value
        raise self._refuse(key, "a list", value)

    def _refuse(self, key: str, rule: str, value: object) -> UserError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return UserError(f"{self._where}: {key} must be {rule}, got {shown}")


def _is_number(value: object) -> TypeGuard[int | float]:
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # a whole number too large for a float
        return False
