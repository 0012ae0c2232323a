"""Who fetches: CPU tasks ahead of the labelling actor, or the actor's own threads, with one unit in hand or two?

Against an S3 server (moto, a development dependency) whose every answer takes 50 ms, with a model that takes a fixed
time per batch. `model_waited` is the share of the time from the first unit's start to the last one's end in which the
model had nothing to do.
"""

import io
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from autolabel.inputs import fetch_image

os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported

import pyarrow as pa
import ray
import ray.cloudpickle
import ray.data
from PIL import Image
from ray.data import ActorPoolStrategy, DataContext

from autolabel.config import LabelConfig
from autolabel.config.compose import compose_config
from autolabel.pipeline.load import load_image, prefetch
from autolabel.plan import PlannedImage
from autolabel.storage import Storage, open_storage

BUCKET = "s3://benchmark"
LATENCY_S = 0.05
N_IMAGES, UNIT_SIZE, BATCH = 768, 64, 4
SIDE_PX = 1008  # what the full model takes


@dataclass(frozen=True, kw_only=True)
class Work:
    """The orders of every process; the model takes `model_s` for a batch."""

    images: Sequence[PlannedImage]
    config: LabelConfig
    model_s: float

    def of_unit(self, unit: int) -> list[PlannedImage]:
        return [image for image in self.images if image.unit == unit]

    def storage(self) -> Storage:
        return open_storage(BUCKET, self.config.input.storage_options)


class FetchTask:
    """A CPU task that puts a unit's bytes into the object store."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, batch: pa.Table) -> pa.Table:
        storage, unit = self.work.storage(), batch["unit"][0].as_py()
        with ThreadPoolExecutor(self.work.config.batch.load_threads) as pool:
            images = self.work.of_unit(unit)
            data = list(pool.map(lambda image: storage.read(image.uri, etag=image.etag), images))
        return pa.table({"unit": [unit], "bytes": pa.array([data], pa.large_list(pa.large_binary()))})


class SleepingActor:
    """Loads images as the labelling actor does, and sleeps where it would run the model."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.pool = ThreadPoolExecutor(work.config.batch.load_threads)
        self.decoders = ThreadPoolExecutor(os.cpu_count())
        self.model_free = threading.Lock()

    def __call__(self, batch: pa.Table) -> pa.Table:
        began, busy_s = time.monotonic(), 0.0
        images = self.work.of_unit(batch["unit"][0].as_py())
        fetch: Callable[[PlannedImage], bytes] = partial(
            fetch_image, storage_options=self.work.config.input.storage_options
        )
        if "bytes" in batch.column_names:
            fetched = dict(zip([image.uri for image in images], batch["bytes"][0].as_py(), strict=True))
            fetch = lambda image: fetched[image.uri]  # noqa: E731 - one of two ways
        loaded = prefetch(
            images,
            partial(
                load_image,
                fetch=fetch,
                settings=self.work.config.image,
                decoders=self.decoders,
                side_px=SIDE_PX,
            ),
            pool=self.pool,
            cost_bytes=lambda image: (image.size_bytes or 0) + 3 * SIDE_PX**2,
            budget_bytes=self.work.config.batch.prefetch_mb * 1_000_000,
        )
        for n_loaded, _ in enumerate(loaded, start=1):
            if n_loaded % BATCH == 0:
                with self.model_free:
                    time.sleep(self.work.model_s)
                    busy_s += self.work.model_s
        return pa.table({"span": [pickle.dumps((began, time.monotonic(), busy_s))]})


def measure(work: Work, *, fetch_tasks: bool, units_in_hand: int) -> dict[str, Any]:
    """Run every unit through one actor."""
    units = pa.table({"unit": pa.array(range(len(work.images) // UNIT_SIZE), pa.int64())})
    rows = ray.data.from_arrow(units).repartition(target_num_rows_per_block=1)
    if fetch_tasks:
        rows = rows.map_batches(FetchTask(work).__call__, batch_size=1, batch_format="pyarrow", num_cpus=0.5)
    pool = ActorPoolStrategy(
        size=1,
        max_tasks_in_flight_per_actor=2 * units_in_hand,
        max_concurrent_calls_per_actor=units_in_hand,
        enable_true_multi_threading=True,
    )
    answers = rows.map_batches(
        SleepingActor, fn_constructor_args=(work,), batch_size=1, batch_format="pyarrow", compute=pool, num_cpus=1
    )
    spans = [pickle.loads(row["span"]) for row in answers.iter_rows()]  # noqa: S301 - our own
    seconds = max(end for _, end, _ in spans) - min(began for began, _, _ in spans)
    return {
        "fetched_by": "tasks" if fetch_tasks else "actor",
        "units_in_hand": units_in_hand,
        "model_ms_per_image": round(1000 * work.model_s / BATCH, 1),
        "images_per_s": round(len(work.images) / seconds, 1),
        "model_waited": round(1 - sum(busy for _, _, busy in spans) / seconds, 3),
    }


def run() -> None:
    """Measure every shape with a fast model and a slow one."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this module
    with slow_s3() as options:
        overrides = [f"input.uri={BUCKET}", "output.uri=unused", f"input.storage_options={options}"]
        config = compose_config("label", overrides)
        images = upload(open_storage(BUCKET, config.input.storage_options))
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        for model_ms_per_image in (5.0, 15.0):
            work = Work(images=images, config=config, model_s=BATCH * model_ms_per_image / 1000)
            for fetch_tasks, units_in_hand in ((True, 1), (True, 2), (False, 1), (False, 2)):
                print(json.dumps(measure(work, fetch_tasks=fetch_tasks, units_in_hand=units_in_hand)), flush=True)


@contextmanager
def slow_s3() -> Iterator[str]:
    """Start the tests' S3 server, with latency; yield its storage_options as an override."""
    os.environ.update(AWS_ACCESS_KEY_ID="benchmark", AWS_SECRET_ACCESS_KEY="benchmark")  # noqa: S106 - moto takes any
    command = [sys.executable, "-m", "tests.support.s3_server", str(LATENCY_S)]
    checkout = Path(__file__).parents[2]
    process = subprocess.Popen(  # noqa: S603 - our own server
        command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield f"{{endpoint_url: '{process.stdout.readline().strip()}'}}"
    finally:
        process.terminate()
        process.wait()


def upload(storage: Storage) -> list[PlannedImage]:
    """Upload noise of 640 x 480, about 100 kB each: what a photo of that size weighs."""
    storage.fs.call_s3("create_bucket", Bucket=BUCKET.removeprefix("s3://"))  # type: ignore[attr-defined]
    rng, samples = random.Random(0), []
    for _ in range(8):
        small = Image.frombytes("RGB", (160, 120), rng.randbytes(160 * 120 * 3))
        file = io.BytesIO()
        small.resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        samples.append(file.getvalue())
    uris = [f"{BUCKET}/{n:06d}.jpg" for n in range(N_IMAGES)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: storage.create_once(uris[n], samples[n % len(samples)]), range(N_IMAGES)))
    listed = {item.uri: item for item in storage.list(BUCKET)}
    return [
        PlannedImage(
            image_id=n + 1,
            uri=uri,
            size_bytes=listed[uri].size_bytes,
            etag=listed[uri].etag,
            unit=n // UNIT_SIZE,
            size_hw=None,
            exemplars=(),
        )
        for n, uri in enumerate(uris)
    ]
