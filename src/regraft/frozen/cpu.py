"""What this processor can do, found out without starting an engine."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

_LIMITS = ("OV_CPU_MAX_ISA", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@cache
def instruction_set() -> str:
    """Name the instruction set in a short string that differs where results may differ.

    OpenVINO and oneDNN pick their kernels by the processor's flags and by environment variables.
    """
    flags = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags = " ".join(sorted(value.split()))
            break
    limits = "|".join(os.environ.get(name, "") for name in _LIMITS)
    short = hashlib.sha256(f"{flags}|{limits}".encode()).hexdigest()[:16]
    return f"{platform.machine()}-{short}"


@cache
def openvino_engine() -> str:
    """Name the CPU engine: OpenVINO's version and the instruction set."""
    return f"openvino-{metadata.version('openvino')}-{instruction_set()}"
