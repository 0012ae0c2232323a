"""The model of a job, on the device of this process."""

import logging
import os
import shutil
import socket
from collections.abc import Set

import torch

from autolabel.config import ModelConfig
from autolabel.errors import BadInput, DeviceUnusable
from autolabel.sam3 import checkpoint, download
from autolabel.sam3.architecture import ARCHITECTURES, DETECTOR_ALONE, Part, build
from autolabel.sam3.device import memory_mb as default_memory_mb
from autolabel.sam3.engine import Engine
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow
from autolabel.sam3.seeding import seed_weights

COMPILE_PROCESSES = 8  # at most, of half a gigabyte each

log = logging.getLogger("autolabel")


def load_engine(
    config: ModelConfig,
    *,
    parts: Set[Part] = DETECTOR_ALONE,
    n_gpus: float,
    n_threads: int,
    memory_mb: int | None,
    sha256: str | None,
) -> Engine:
    """Load the model of the settings on this process's device.

    Args:
        parts: that the job asks; the others are not loaded.
        n_gpus: that this process was given, a share of one or more; 0: it works on the CPU.
        n_threads: that this process may keep busy beside the model.
        memory_mb: that it may use beside its weights; None: see device.memory_mb.
        sha256: of the checkpoint that the job was started with.

    Raises:
        DeviceUnusable: it was given a GPU that torch cannot use.
        BadInput: a compiled model is asked for, and there is no compiler.
        CheckpointError: the weights cannot be had, are not the ones the job was started with, or lack a part.
    """
    architecture = ARCHITECTURES[config.architecture]
    device = device_of(n_gpus)
    compiled = is_compiled(config.compile, device)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(min(n_threads, COMPILE_PROCESSES)))
    if device.type == "cuda":
        torch.set_num_threads(1)  # the host's cores decode and make run lengths, an image each
    if config.checkpoint is None:
        assert config.seed is not None, "validated with the settings"
        model = build(architecture, device=device, parts=parts)
        seed_weights(model, config.seed)
    else:
        found = download.fetch(config.checkpoint, storage_options=config.storage_options, sha256=sha256)
        model = checkpoint.load(found.path, architecture, device=device, parts=parts)
    narrow(model, PRECISIONS[config.precision])
    multiply_in(PRECISIONS[config.precision])
    if memory_mb is None:
        memory_mb = default_memory_mb(device, share=min(1.0, n_gpus))
    return Engine(model, architecture, device=device, memory_mb=memory_mb, compiled=compiled)


def is_compiled(asked: bool | None, device: torch.device) -> bool:
    """Return whether to compile the model: as asked, or on a GPU where that is possible.

    Raises:
        BadInput: it is asked for, and there is no C compiler, which torch.compile wants even for a GPU.
    """
    if asked is False or (asked is None and device.type == "cpu"):
        return False
    if any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return True
    if asked:
        raise BadInput(f"model.compile: there is no C compiler on {socket.gethostname()}; install gcc, or set CC")
    log.warning(
        "there is no C compiler on %s, so the model is not compiled, but slower: install gcc, or model.compile=false",
        socket.gethostname(),
    )
    return False


def device_of(n_gpus: float) -> torch.device:
    """Return the device of a process that was given so many GPUs.

    Raises:
        DeviceUnusable: torch cannot use the GPU; the message has its reason.
    """
    if not n_gpus:
        return torch.device("cpu")
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was compiled without CUDA
        here = f"{socket.gethostname()}: {n_gpus:g} GPUs were given to this process, and torch cannot use them"
        raise DeviceUnusable(f"{here}: {error} (cluster.gpus_per_actor=0 labels on CPUs)") from error
    return torch.device("cuda")
