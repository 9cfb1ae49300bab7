"""OpenVINO without its report home.

``import openvino`` sends an event to Google Analytics (from ``openvino.tools.ovc``, seen in
2026.4) and leaves an identifier in the home folder, unless a file there forbids it. Where the
package that sends is not installed, OpenVINO makes do without; so the first import misses it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from regraft.interrupts import interrupts_wait

_SENDER = "openvino_telemetry"


def import_openvino() -> Any:
    """Import OpenVINO; every use of it in regraft begins here.

    Returns
    -------
    module
        ``openvino``. Where the caller's program had imported it before, nothing is changed.
    """
    if "openvino" in sys.modules or _SENDER in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[_SENDER] = None  # type: ignore[assignment]  # makes `import` fail
    try:
        with interrupts_wait():
            return importlib.import_module("openvino")
    finally:
        sys.modules.pop(_SENDER, None)
