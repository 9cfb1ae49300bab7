"""The checks are written as plain assertions, in modules that pytest does not collect."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("contracts.contract", "contracts.subjects")
