"""The model of a job, on the device of this process."""

import torch

from autolabel.config import ModelConfig
from autolabel.sam3 import checkpoint
from autolabel.sam3.architecture import ARCHITECTURES, build
from autolabel.sam3.engine import Engine
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow
from autolabel.sam3.seeding import seed_weights

GPU_SHARE = 0.7  # of the memory that the weights leave free; the rest is for what the estimates leave out
CPU_MEMORY_MB = 200


def load_engine(config: ModelConfig, *, memory_mb: int | None, sha256: str | None) -> Engine:
    """Return the model of the settings on this process's device.

    Args:
        memory_mb: that it may use beside its weights; None: most of what a GPU has free, CPU_MEMORY_MB on a CPU.
        sha256: of the checkpoint that the job was started with.

    Raises:
        CheckpointError: the weights cannot be had, or are not the ones the job was started with.
    """
    architecture = ARCHITECTURES[config.architecture]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
        memory_mb = int(torch.cuda.mem_get_info()[0] * GPU_SHARE / 1e6) if device.type == "cuda" else CPU_MEMORY_MB
    return Engine(model, architecture, device=device, memory_mb=memory_mb, compiled=config.compile)
