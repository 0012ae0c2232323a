"""A decoder that dies costs the image that killed it."""

import os
import signal
import time

import pytest

from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.isolation import DecoderProcess


def die(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    time.sleep(10)


def refuse() -> None:
    raise RejectedImage(RejectCode.CORRUPT, "no")


@pytest.mark.parametrize("signal_number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_death_is_a_rejection_and_the_next_one_lives(signal_number: int) -> None:
    with DecoderProcess() as quarantine:
        first = quarantine.submit(os.getpid).result()
        assert first != os.getpid()
        assert quarantine.submit(os.getpid).result() == first
        with pytest.raises(RejectedImage) as raised:
            quarantine.submit(die, signal_number).result()
        assert raised.value.code == RejectCode.DECODER_DIED
        assert quarantine.submit(os.getpid).result() != first


def test_what_is_raised_there_is_raised_here() -> None:
    with DecoderProcess() as quarantine, pytest.raises(RejectedImage) as raised:
        quarantine.submit(refuse).result()
    assert (raised.value.code, raised.value.detail) == (RejectCode.CORRUPT, "no")


def test_the_process_is_the_first_to_go_when_memory_runs_out() -> None:
    with DecoderProcess() as quarantine:
        assert quarantine.submit(score).result() == "1000\n"


def score() -> str:
    with open("/proc/self/oom_score_adj") as file:
        return file.read()
