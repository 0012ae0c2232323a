"""A list of URLs through a whole job, with the limits as they are."""

import socket
import time
from pathlib import Path

import pytest

from autolabel.errors import BadInput
from tests.support.jobs import rows_of, run_label, run_verify
from tests.support.scenes import write_scenes
from tests.support.web_server import Web, web_server

pytestmark = pytest.mark.usefixtures("cluster")

OWN = "input.storage_options.http.allow_private=true"
SETTINGS = ("prompts=[red circle, triangle]", "output.unit_size=5")


def listed(folder: Path, urls: list[str]) -> Path:
    path = folder / "urls.csv"
    path.write_text("\n".join(["uri", *urls]))
    return path


def scenes_of(folder: Path, *servers: Web) -> list[str]:
    """URLs of seven scenes, dealt out to servers."""
    names = [name for name in write_scenes(folder / "scenes", count=8, seed=3) if "scene" in name][:7]
    urls = []
    for n, name in enumerate(names):
        server = servers[n % len(servers)]
        server.files[name] = (folder / "scenes" / name).read_bytes()
        urls.append(server.url(name))
    return urls


def test_three_hosts_that_fail_cost_three_images(tmp_path: Path) -> None:
    with (
        web_server() as good,
        web_server() as better,
        web_server() as silent,
        web_server() as endless,
        socket.socket() as taken,  # and not listened on: a host that is dead
    ):
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}/d.jpg"
        urls = scenes_of(tmp_path, good, better)
        urls[1:1] = [dead]
        urls[3:3] = [silent.url("silent/s.jpg")]
        urls[8:8] = [endless.url("endless/e.jpg")]
        began = time.monotonic()
        told = run_label(listed(tmp_path, urls), tmp_path / "labels", OWN, *SETTINGS)
        took_s = time.monotonic() - began
    assert "rejected, unreachable: 3" in told
    rows = rows_of(tmp_path / "labels")
    assert [row["uri"] for row in rows] == urls
    assert [row["uri"] for row in rows if row["status"] == "rejected"] == [urls[1], urls[3], urls[8]]
    assert {row["reject_code"] for row in rows} == {None, "unreachable"}
    assert run_verify(tmp_path / "labels").clean
    assert took_s < 120


def test_what_was_unreachable_can_be_labelled_later(tmp_path: Path) -> None:
    with web_server() as server, web_server() as late:
        urls = scenes_of(tmp_path, server, late)
        late.stop()
        manifest, output = listed(tmp_path, urls), tmp_path / "labels"
        assert "rejected, unreachable: 3" in run_label(manifest, output, OWN, *SETTINGS)
        with web_server(port=late.port) as back:
            back.files = late.files
            told = run_label(manifest, output, OWN, *SETTINGS, "retry=[unreachable]")
    assert "0 rejected" in told
    assert [row["uri"] for row in rows_of(output)] == urls


def test_a_list_that_leads_inside_is_no_input(tmp_path: Path) -> None:
    with web_server() as server:
        urls = scenes_of(tmp_path, server)
        with pytest.raises(BadInput, match=r"none of 7 images.*can be read:\n.*forbidden: .*private network"):
            run_label(listed(tmp_path, urls), tmp_path / "labels", *SETTINGS)
        assert server.n_requests.total() == 0
    assert not (tmp_path / "labels").exists()
