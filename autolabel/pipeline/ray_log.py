"""Lines of Ray's own, in what its driver prints, that look like errors and are none.

Ray writes one at the start of every actor pool of Ray Data, and others where a job is interrupted. No setting turns
them off for the driver alone: the level of Ray's log is that of its whole cluster. Most are written past Python to the
descriptor of standard error; what is written there goes to a small process that leaves these lines out, and that
outlives the driver: what Ray says as it dies is passed on. Python's own `sys.stderr` stays what it was, bars included.
What a raylet says is printed by a thread of Ray in the driver, to `sys.stdout`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, cast

STDERR = 2
HARMLESS = (
    r"core_worker\.cc:\d+: .* has constructor arguments in the object store and max_restarts > 0"  # Ray Data keeps them
    r"|task_manager\.cc:\d+: .* infinite retries remaining"  # as actors are ended with their job
    r"|infinite retries remaining, .* killed by `ray\.kill`"  # the same, as the raylet says it
)
FILTER = """
import re, sys
for line in sys.stdin.buffer:
    if not re.search(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


class WithoutHarmlessLines:
    """A text stream that leaves out what is harmless, and the end of its line, which is written by itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._dropped = False

    def write(self, text: str) -> int:
        dropped, self._dropped = self._dropped, re.search(HARMLESS, text) is not None
        return len(text) if self._dropped or (dropped and text == "\n") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def without_harmless_lines() -> Iterator[None]:
    """Keep lines that look like errors and are none from what this process prints, for the block.

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
        with redirect_stdout(cast(TextIO, WithoutHarmlessLines(sys.stdout))):
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
