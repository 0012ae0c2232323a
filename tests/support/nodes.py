"""Ray nodes on this machine."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ray.cluster_utils import Cluster

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def one_start_at_a_time() -> Iterator[None]:
    """Across processes: nodes that start at once may choose the same ports or sockets, and one of them dies."""
    with Path(tempfile.gettempdir(), "autolabel-tests-node-starts").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given up as the file is closed
        yield


class Nodes(Cluster):
    """A head and what tests join to it. Actors can import what tests hold; this process stays outside."""

    def add_node(self, *arguments: Any, **settings: Any) -> Any:
        with one_start_at_a_time(), patch.dict(os.environ, PYTHONPATH=str(REPOSITORY)):
            return super().add_node(*arguments, **settings)
