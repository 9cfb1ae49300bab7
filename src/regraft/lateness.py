"""What is said where a budget was not kept."""

from __future__ import annotations

_LATE = 1.1


def is_late(seconds: float, allowed: float) -> bool:
    """Whether something took clearly longer than it might: by a tenth, and a second."""
    return seconds > _LATE * allowed + 1


def overrun(seconds: float, budget: float, control: float = 0.0) -> str:
    """Say how long it took, and what is never cut short.

    Parameters
    ----------
    seconds : float
        What all took.
    budget : float
        Seconds that were given.
    control : float
        Seconds that a control might take besides.
    """
    more = f" and {control:.0f} s for the control" if control else ""
    return (
        f"All took {seconds:.0f} s, longer than the {budget:g} s that were given{more}. Never cut "
        "short: the frozen pass, the comparison of features and that with the source, a fold that "
        "is being judged, the test and writing a model."
    )
