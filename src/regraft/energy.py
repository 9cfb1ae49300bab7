"""The energy that a stretch of work took, by CodeCarbon, without a network.

Measured where the machine has counters, else estimated from the rating of the processor and its
load: the one is never given for the other. Carbon dioxide needs a country, for how its electricity
is made, and is not named without one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regraft.errors import MissingExtraError, UserError

_JOULES = 3.6e6  # of a kilowatt-hour
_SECONDS = 5  # between two readings
_KILO = 1000.0
_COUNTERS = ("intel_rapl", "intel_power_gadget")


@dataclass(frozen=True, slots=True)
class Energy:
    """What the whole machine took.

    Parameters
    ----------
    joules : float
        Energy of processor, memory and cards.
    measured : bool
        Whether the processor's own counters gave it; memory is always estimated.
    seconds : float
        How long it took.
    country : str or None
        Three letters (ISO 3166).
    co2_grams : float or None
        Carbon dioxide; None without a country.
    """

    joules: float
    measured: bool
    seconds: float
    country: str | None
    co2_grams: float | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Energy:
        """Read back what `as_dict` gave."""
        return cls(
            joules=float(values["joules"]),
            measured=values["how"] == "measured",
            seconds=float(values["seconds"]),
            country=values["country"],
            co2_grams=values["co2_grams"],
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "joules": self.joules,
            "how": "measured" if self.measured else "estimated",
            "seconds": self.seconds,
            "country": self.country,
            "co2_grams": self.co2_grams,
        }


class Meter:
    """Measures from the beginning until it is read; nothing where codecarbon is not installed.

    Parameters
    ----------
    country : str, optional
        Where the electricity comes from; see `check_country`.
    """

    def __init__(self, country: str | None = None) -> None:
        self._country = country.upper() if country else None
        self._energy: Energy | None = None
        self._tracker: Any = _tracker(self._country) if _installed() else None
        if self._tracker is not None:
            with _silent():
                self._tracker.start()

    def read(self) -> Energy | None:
        """Stop, and say what was taken until now; asked again, it says the same."""
        if self._tracker is not None:
            tracker, self._tracker = self._tracker, None
            with _silent():
                grams = tracker.stop()
                found = tracker.final_emissions_data
                modes = [getattr(part, "_mode", None) for part in tracker._hardware]
            self._energy = Energy(
                joules=float(found.energy_consumed) * _JOULES,
                measured=any(mode in _COUNTERS for mode in modes),
                seconds=float(found.duration),
                country=self._country,
                co2_grams=1000 * float(grams or 0) if self._country else None,
            )
        return self._energy


def check_country(country: str | None) -> None:
    """Complain about a country that has no figures.

    Raises
    ------
    UserError
        If it is no code of three letters.
    MissingExtraError
        If codecarbon is not installed.
    """
    if country is None:
        return
    if not _installed():
        raise MissingExtraError(
            "codecarbon is needed to name carbon dioxide: pip install 'regraft[report]'"
        )
    from codecarbon.input import DataSource

    source: Any = DataSource
    known = source().get_global_energy_mix_data()
    if country.upper() not in known:
        raise UserError(
            f"country must be a code of three letters (ISO 3166) of which codecarbon knows how "
            f"electricity is made, such as FRA or USA, got {country!r}"
        )


@contextlib.contextmanager
def metered(country: str | None = None) -> Iterator[Meter]:
    """Give a meter that is stopped in the end, whatever happens.

    Parameters
    ----------
    country : str, optional
        Where the electricity comes from; see `check_country`.
    """
    meter = Meter(country)
    try:
        yield meter
    finally:
        meter.read()


def energy_of(joules: float) -> str:
    """Write an energy in a unit that suits it."""
    if joules < _KILO:
        return f"{joules:.0f} J"
    if joules < _KILO**2:
        return f"{joules / _KILO:.1f} kJ ({joules / 3600:.2g} Wh)"
    return f"{joules / _KILO**2:.1f} MJ ({joules / 3.6e6:.2g} kWh)"


def _installed() -> bool:
    return importlib.util.find_spec("codecarbon") is not None


def _tracker(country: str | None) -> Any:
    with _silent():
        from codecarbon import OfflineEmissionsTracker

        place = {"country_iso_code": country} if country else {}
        return OfflineEmissionsTracker(
            **place,
            save_to_file=False,
            log_level="critical",
            measure_power_secs=_SECONDS,
            allow_multiple_runs=True,
            tracking_mode="machine",
        )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what it has to say about itself off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
