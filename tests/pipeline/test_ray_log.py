"""What Ray writes past Python is passed on, but for lines that look like errors and are none."""

import subprocess
import sys

HARMLESS = (
    "[2026-11-24 12:58:56,540 E 1 1] core_worker.cc:2465: Actor with class name: 'MapWorker(MapBatches(UnitActor))' "
    "and ID: '2b66' has constructor arguments in the object store and max_restarts > 0. If the arguments in the object "
    "store go out of scope or are lost, the actor restart will fail."
)
OF_A_RAYLET = (
    "\x1b[33m(raylet)\x1b[0m Task MapWorker(MapBatches(UnitActor)).submit failed. There are infinite retries "
    "remaining, so the task will be retried. Error: The actor is dead because it was killed by `ray.kill`."
)
PROGRAM = f"""
import os, subprocess, sys
from autolabel.pipeline.ray_log import without_harmless_lines

print("before", file=sys.stderr)
with without_harmless_lines():
    os.write(2, {HARMLESS!r}.encode() + b"\\n")
    os.write(2, b"[E] the raylet died\\n")
    print("from Python", file=sys.stderr)
    print({OF_A_RAYLET!r})
    print("its worker died", flush=True)
    subprocess.run(["sh", "-c", "echo of a child >&2"])
    if len(sys.argv) > 1:
        os.write(2, b"last words")
        os._exit(3)
os.write(2, b"after\\n")
print("after, too", file=sys.stderr)
"""


def run(*arguments: str) -> tuple[int, list[str]]:
    """Return the exit code, and the lines on standard error; those on standard output are looked at here."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["its worker died"]
    return done.returncode, done.stderr.splitlines()


def test_harmless_lines_are_left_out_and_all_others_are_there() -> None:
    code, lines = run()
    assert code == 0
    assert lines[0] == "before"
    assert sorted(lines[1:4]) == ["[E] the raylet died", "from Python", "of a child"]
    assert lines[4:] == ["after", "after, too"]


def test_what_ray_says_as_it_takes_its_driver_along_is_passed_on() -> None:
    code, lines = run("die")
    assert code == 3
    assert {"[E] the raylet died", "last words"} <= set(lines)
