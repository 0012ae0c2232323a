"""What Prometheus reads from a node while and after a job runs there, and the dashboard that asks for it."""

import json
import re
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import ray

from tests.support.free_model import FreeModel
from tests.support.jobs import statuses
from tests.support.planned import planned_job
from tests.support.scenes import write_scenes

DASHBOARD = Path(__file__).parents[2] / "k8s" / "monitoring" / "grafana.json"


def exported() -> str:
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urlopen(Request(address), timeout=10) as response:
        return str(response.read().decode())


def value_of(metrics: str, name: str, **tags: str) -> float:
    """The sum over processes."""
    lines = re.findall(rf"^ray_{name}\{{(.*)\}} (\S+)$", metrics, re.MULTILINE)
    return sum(
        float(value) for found, value in lines if all(f'{tag}="{wanted}"' in found for tag, wanted in tags.items())
    )


@pytest.mark.usefixtures("cluster")
def test_a_job_is_counted(tmp_path: Path) -> None:
    from autolabel.config import ClusterConfig
    from autolabel.pipeline import actors
    from autolabel.pipeline.heartbeat import Heartbeat

    write_scenes(tmp_path / "in", count=9, seed=2)
    job, _ = planned_job(tmp_path, "output.unit_size=5")
    before = exported()
    list(actors.label_units(job, [0, 1], Heartbeat(), ClusterConfig(cpus_per_actor=1), load=FreeModel()))
    counts = statuses(tmp_path / "out")
    expected = {status: counts[status] + value_of(before, "autolabel_images_total", status=status) for status in counts}
    assert counts["labelled"]
    assert counts["rejected"]
    deadline = time.monotonic() + 60
    while True:
        metrics = exported()
        found = {status: value_of(metrics, "autolabel_images_total", status=status) for status in counts}
        if found == expected:
            break
        assert time.monotonic() < deadline, (found, expected)
        time.sleep(1)
    assert value_of(metrics, "autolabel_rejected_total", code="truncated") >= 1
    assert value_of(metrics, "autolabel_instances_total") > 0
    for stage in ("fetch", "decode", "segment", "finish", "write"):
        assert value_of(metrics, "autolabel_stage_seconds_total", stage=stage) > 0, stage
    assert value_of(metrics, "autolabel_unit_seconds_count") >= 2
    for name, label in re.findall(r"by \((?!le)(\w+)\) \(?(?:rate\()?ray_(\w+)", DASHBOARD.read_text()):
        assert re.search(rf'^ray_{label}\{{.*{name}="', metrics, re.MULTILINE), (name, label)
    for name, label, value in re.findall(r'ray_(\w+)\{(\w+)=\\"(\w+)\\"', DASHBOARD.read_text()):
        assert value_of(metrics, name, **{label: value}) > 0, (name, label, value)


def test_the_dashboard_asks_for_what_there_is() -> None:
    written = Path(__file__).parents[2] / "autolabel" / "pipeline" / "metrics.py"
    names = set(re.findall(r'(Counter|Gauge|Histogram)\(\s*"(\w+)"', written.read_text()))
    there = {f"ray_{name}{'_total' if kind == 'Counter' else ''}" for kind, name in names}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = set(re.findall(r"ray_autolabel_\w+", json.dumps(panels)))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} == there
    assert len({panel["id"] for panel in panels}) == len(panels)
