"""How many cores there are is what a container is allowed, and not what its host has."""

import os
from pathlib import Path

import pytest

from autolabel import parallel
from autolabel.parallel import n_cores


@pytest.mark.parametrize(
    ("limit", "n"),
    [
        ("max 100000", 64),
        ("400000 100000", 4),
        ("250000 100000", 3),
        ("20000 100000", 1),
        ("9900000 100000", 64),
        ("nonsense", 64),
        (None, 64),
    ],
)
def test_a_container_has_the_cores_of_its_limit(
    limit: str | None, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(parallel, "CONTAINER_LIMIT", str(tmp_path / "cpu.max"))
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert n_cores() == n
