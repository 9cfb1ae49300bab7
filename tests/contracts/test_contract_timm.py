"""The contract over the networks whose first choice is timm's."""

from __future__ import annotations

import pytest

from contracts.contract import CHECKS
from contracts.networks import NETWORKS
from contracts.subjects import Check, Subject, subject_fixture

subject = subject_fixture([n for n in NETWORKS if n.spelling.startswith("timm:")])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(subject: Subject, check: Check) -> None:
    check(subject)
