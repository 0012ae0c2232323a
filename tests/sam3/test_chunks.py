"""Running out of memory costs time and nothing else."""

import logging
from collections.abc import Sequence

import pytest
import torch

from autolabel.sam3.chunks import GROW_AFTER, SIZES, Chunks, padded


class Device:
    """Work that fits up to `room` items at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def work(self, items: Sequence[int]) -> list[int]:
        self.sizes.append(len(items))
        if len(items) > self.room:
            raise torch.OutOfMemoryError(f"no room for {len(items)}")
        return [10 * item for item in items]


def test_pieces_are_as_large_as_asked_and_in_order() -> None:
    device = Device(room=100)
    assert Chunks(4, "pairs").run(range(10), device.work) == [10 * n for n in range(10)]
    assert device.sizes == [4, 4, 2]
    assert Chunks(4, "pairs").run([], device.work) == []


def test_out_of_memory_halves_the_piece_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    device, chunks = Device(room=3), Chunks(16, "pairs")
    with caplog.at_level(logging.WARNING, logger="autolabel"):
        assert chunks.run(range(20), device.work) == [10 * n for n in range(20)]
    assert device.sizes == [16, 8, 4, *[2] * 10]
    assert "out of memory with 16 pairs at a time; going on with 8" in caplog.text
    device.sizes.clear()
    chunks.run(range(4), device.work)
    assert device.sizes == [2, 2]  # it remembers


def test_it_grows_again_after_a_while() -> None:
    device, chunks = Device(room=3), Chunks(16, "pairs")
    chunks.run(range(16), device.work)
    device.room = 100
    for _ in range(3):
        chunks.run(range(16 * GROW_AFTER), device.work)
    assert max(device.sizes[20:]) == 16
    assert device.sizes[-1] == 16


def test_a_single_item_that_does_not_fit_is_an_error() -> None:
    device = Device(room=0)
    with pytest.raises(torch.OutOfMemoryError, match="no room for 1"):
        Chunks(4, "pairs").run(range(4), device.work)
    assert device.sizes == [4, 2, 1]


def test_there_is_always_room_to_try_one() -> None:
    device = Device(room=1)
    assert Chunks(0, "pairs").run(range(2), device.work) == [0, 10]
    assert device.sizes == [1, 1]


@pytest.mark.parametrize(
    ("n_items", "largest", "pieces"),
    [
        (1, 64, [1]),
        (2, 64, [1, 1]),
        (3, 64, [3]),
        (7, 64, [4, 3]),
        (9, 64, [9]),
        (23, 64, [16, 4, 3]),
        (40, 64, [40]),
        (64, 1000, [64]),
        (300, 1000, [64, 64, 64, 64, 44]),
        (40, 50, [16, 16, 4, 4]),
        (5, 3, [1] * 5),
    ],
)
def test_pieces_of_few_sizes_are_filled_up_by_less_than_half(n_items: int, largest: int, pieces: list[int]) -> None:
    device = Device(room=1000)
    chunks = Chunks(largest, "pairs", few_sizes=True)
    assert chunks.run(range(n_items), device.work) == [10 * n for n in range(n_items)]
    assert device.sizes == pieces
    assert all(size <= padded(size) < 2 * size and padded(size) in SIZES for size in pieces)


def test_few_sizes_also_after_running_out_of_memory() -> None:
    device = Device(room=20)
    assert Chunks(64, "pairs", few_sizes=True).run(range(64), device.work) == [10 * n for n in range(64)]
    assert device.sizes == [64, 16, 16, 16, 16]


def test_nothing_smaller_is_tried_where_the_device_is_lost() -> None:
    device = Device(room=3)
    with pytest.raises(torch.OutOfMemoryError, match="no room for 16"):
        Chunks(16, "pairs", try_smaller=False).run(range(16), device.work)
    assert device.sizes == [16]
