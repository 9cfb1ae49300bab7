"""Ctrl-C is not lost, whatever is being imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from regraft.interrupts import interrupts_wait

# What an extension does that is interrupted in its initialisation.
SWALLOWS = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
except BaseException as error:
    raise ImportError("initialization failed") from None
"""
IMPORTS = """
from regraft.quiet import import_openvino
try:
    import_openvino()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_while_openvino_is_imported_is_not_lost(tmp_path: Path):
    (tmp_path / "openvino.py").write_text(SWALLOWS)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "interrupted\n", done.stderr


WAITS = """
import os, signal
from regraft.interrupts import interrupts_wait
try:
    with interrupts_wait():
        os.kill(os.getpid(), signal.SIGINT)
        print("after the signal")
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_an_interrupt_waits_for_the_end_of_the_block():
    """In a process of its own: a signal that goes astray ends a worker of the tests."""
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True)
    assert done.stdout == "after the signal\ninterrupted True\n", done.stderr


def test_without_an_interrupt_nothing_happens():
    with interrupts_wait():
        pass
    with pytest.raises(ZeroDivisionError), interrupts_wait():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_leave_the_handler_alone():
    seen = []

    def work() -> None:
        with interrupts_wait():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
