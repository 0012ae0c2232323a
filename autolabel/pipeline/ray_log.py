"""Lines of Ray's own, written past Python to the standard error of its driver, that look like errors and are none.

Ray writes one at the start of every actor pool of Ray Data, and others where a job is interrupted. No setting turns
them off for the driver alone: the level of Ray's log is that of its whole cluster. So what is written to the descriptor
goes to a small process that leaves these lines out, and that outlives the driver: what Ray says as it dies is passed
on. Python's own `sys.stderr` stays what it was, bars included.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
HARMLESS = (
    r"core_worker\.cc:\d+: .* has constructor arguments in the object store and max_restarts > 0"  # Ray Data keeps them
    r"|task_manager\.cc:\d+: .* infinite retries remaining"  # as actors are ended with their job
)
FILTER = """
import re, sys
for line in sys.stdin.buffer:
    if not re.search(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


@contextmanager
def without_harmless_lines() -> Iterator[None]:
    """Keep lines that look like errors and are none from the standard error of this process, for the block.

    Where `sys.stderr` is not the descriptor itself, as in a notebook, nothing is done.
    """
    before = sys.__stderr__
    if before is None or sys.stderr is not before or before.fileno() != STDERR:
        yield
        return
    before.flush()
    shown = os.dup(STDERR)
    filtering = subprocess.Popen(  # noqa: S603  # this interpreter, with a program of our own
        [sys.executable, "-I", "-S", "-c", FILTER, HARMLESS], stdin=subprocess.PIPE, start_new_session=True
    )
    assert filtering.stdin is not None
    os.dup2(filtering.stdin.fileno(), STDERR)
    sys.stderr = own = os.fdopen(shown, "w", buffering=1, errors="backslashreplace")
    try:
        yield
    finally:
        own.flush()
        os.dup2(shown, STDERR)
        sys.stderr = before
        own.close()
        filtering.stdin.close()
        try:
            filtering.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # a child still holds what it reads from, and it ends with that
            filtering.returncode = 0
