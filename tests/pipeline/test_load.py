"""Images come in order, ahead of the caller, and never more of them than the budget holds."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from autolabel.config import ImageConfig
from autolabel.errors import RejectCode, StorageError
from autolabel.images.windows import whole
from autolabel.inputs import fetch_image
from autolabel.pipeline.load import ModelInput, Rejection, load_image, prefetch
from autolabel.plan import PlannedImage
from autolabel.storage import Storage, open_storage
from tests.support.bad_images import good_images


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.mark.parametrize("budget_bytes", [1, 10, 35, 1000])
def test_order_is_kept_and_the_budget_too(pool: ThreadPoolExecutor, budget_bytes: int) -> None:
    sizes = [10, 3, 50, 10, 10, 1, 1, 1, 30, 10]
    held = most = 0
    lock = threading.Lock()

    def work(size: int) -> int:
        nonlocal held, most
        with lock:
            held += size
            most = max(most, held)
        return size

    given = []
    for item, loaded in prefetch(sizes, work, pool=pool, cost_bytes=lambda size: size, budget_bytes=budget_bytes):
        assert item == loaded
        given.append(item)
        with lock:
            held -= item
    assert given == sizes
    assert held == 0
    assert most <= max(budget_bytes, max(sizes))  # a single item is let in, however large
    if budget_bytes == 1000:
        assert most > max(sizes)


def test_the_pool_works_ahead_of_the_caller(pool: ThreadPoolExecutor) -> None:
    started = [threading.Event() for _ in range(4)]
    items = prefetch(range(4), lambda n: started[n].set(), pool=pool, cost_bytes=lambda _: 1, budget_bytes=10)
    next(items)
    assert all(event.wait(10) for event in started)


def test_an_error_reaches_the_caller_and_what_waits_is_cancelled() -> None:
    release, ran = threading.Event(), []

    def work(n: int) -> None:
        if n == 0:
            raise StorageError("the storage is gone")
        release.wait(10)
        ran.append(n)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(StorageError, match="gone"):
            list(prefetch(range(50), work, pool=pool, cost_bytes=lambda _: 1, budget_bytes=100))
        release.set()
    assert len(ran) <= 1  # the one that ran already


def planned(storage: Storage, path: Path, **stated: object) -> PlannedImage:
    listed = storage.stat(str(path))
    known = {"size_bytes": listed.size_bytes, "etag": listed.etag, "size_hw": None, **stated}
    return PlannedImage(image_id=1, uri=str(path), unit=0, exemplars=(), **known)  # type: ignore[arg-type]


def test_an_image_is_loaded_as_listed_or_rejected_with_a_reason(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    storage, path = open_storage(str(tmp_path), {}), tmp_path / "image"
    path.write_bytes(next(iter(good_images().values())))

    def loaded_now(image: PlannedImage) -> ModelInput | Rejection:
        loaded, _ = load_image(
            image,
            fetch=partial(fetch_image, storage_options={}),
            settings=ImageConfig(),
            windows_of=lambda size_hw: [whole(size_hw)],
            decoders=pool,
            side_px=56,
        )
        return loaded

    loaded = loaded_now(planned(storage, path))
    assert isinstance(loaded, ModelInput)
    assert [pixels.shape for pixels in loaded.pixels] == [(3, 56, 56)]
    assert loaded.windows == (whole(loaded.info.size_hw),)
    assert len(loaded.info.sha256) == 64

    def code(image: PlannedImage) -> RejectCode:
        rejection = loaded_now(image)
        assert isinstance(rejection, Rejection)
        assert rejection.detail
        return rejection.code

    height, width = loaded.info.size_hw
    assert isinstance(loaded_now(planned(storage, path, size_hw=(height, width))), ModelInput)
    assert code(planned(storage, path, size_hw=(width + 1, height))) == RejectCode.SIZE_MISMATCH
    assert code(planned(storage, path, size_bytes=3)) == RejectCode.CHANGED
    assert code(planned(storage, path, etag="1")) == RejectCode.CHANGED
    gone = planned(storage, path)
    path.unlink()
    assert code(gone) == RejectCode.MISSING
    path.symlink_to(path)
    assert code(gone) == RejectCode.MISSING
    path.unlink()
    path.mkdir()
    assert code(gone) == RejectCode.MISSING
