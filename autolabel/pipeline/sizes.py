"""What a labelling process takes on at a time, by the CPUs and GPUs that it was given: a pod sees all of its host's."""

from dataclasses import dataclass

from autolabel.config import BatchConfig
from autolabel.parallel import n_cores

IMAGES_ON_CPU, IMAGES_ON_GPU = 4, 16  # a pass over one pair for each image costs a GPU hardly more than over one
LEAST_LOAD_THREADS, LEAST_FINISH_THREADS = 16, 2  # the first wait for storages, not for cores


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Images of a batch, and threads beside the model's own."""

    batch_images: int
    load_threads: int  # that fetch
    decode_threads: int  # and resize
    finish_threads: int  # that make run lengths of masks


def sizes_of(batch: BatchConfig, *, n_cpus: float | None, n_gpus: float) -> Sizes:
    """Return the sizes that the settings give, or those that suit so many CPUs and GPUs; None: all CPUs there are."""
    n_threads = n_cores() if n_cpus is None else max(1, int(n_cpus))
    return Sizes(
        batch_images=batch.images or (IMAGES_ON_GPU if n_gpus else IMAGES_ON_CPU),
        load_threads=batch.load_threads or max(LEAST_LOAD_THREADS, 2 * n_threads),
        decode_threads=n_threads,
        finish_threads=max(LEAST_FINISH_THREADS, n_threads // 4),
    )
