"""The model of a job, on the device of this process."""

import socket

import torch

from autolabel.config import ModelConfig
from autolabel.errors import DeviceUnusable
from autolabel.sam3 import checkpoint
from autolabel.sam3.architecture import ARCHITECTURES, build
from autolabel.sam3.engine import Engine
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow
from autolabel.sam3.seeding import seed_weights

GPU_SHARE = 0.7  # of the memory that the weights leave free; the rest is for what the estimates leave out
CPU_MEMORY_MB = 200


def load_engine(config: ModelConfig, *, n_gpus: float, memory_mb: int | None, sha256: str | None) -> Engine:
    """Load the model of the settings on this process's device.

    Args:
        n_gpus: that this process was given, a share of one or more; 0: it works on the CPU.
        memory_mb: that it may use beside its weights; None: most of what a GPU has free, CPU_MEMORY_MB on a CPU.
        sha256: of the checkpoint that the job was started with.

    Raises:
        DeviceUnusable: it was given a GPU that torch cannot use.
        CheckpointError: the weights cannot be had, or are not the ones the job was started with.
    """
    architecture = ARCHITECTURES[config.architecture]
    device = device_of(n_gpus)
    if config.checkpoint is None:
        assert config.seed is not None, "validated with the settings"
        model = build(architecture, device=device)
        seed_weights(model, config.seed)
    else:
        found = checkpoint.fetch(config.checkpoint, storage_options=config.storage_options, sha256=sha256)
        model = checkpoint.load(found.path, architecture, device=device)
    narrow(model, PRECISIONS[config.precision])
    multiply_in(PRECISIONS[config.precision])
    if memory_mb is None:
        memory_mb = free_gpu_mb(n_gpus) if device.type == "cuda" else CPU_MEMORY_MB
    return Engine(model, architecture, device=device, memory_mb=memory_mb, compiled=config.compile)


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


def free_gpu_mb(n_gpus: float) -> int:
    """Return the megabytes that a process may plan with; where several share a GPU, each has its part."""
    return int(torch.cuda.mem_get_info()[0] * GPU_SHARE * min(1.0, n_gpus) / 1e6)
