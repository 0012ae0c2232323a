"""A data set of which a share cannot be read: every good image is looked at, every bad one has its own code."""

import os
import random
from pathlib import Path

import pytest

from autolabel.config.compose import compose_config
from autolabel.errors import RejectCode
from autolabel.pipeline.job import label
from autolabel.plan import Plan
from autolabel.storage import open_storage
from tests.support.bad_images import bad_images, encoded, picture
from tests.support.free_model import BRIGHT, DARK, FreeModel
from tests.support.jobs import rows_of, run_verify
from tests.support.ledger import LONG, Ledger

N_IMAGES = 10_000 if LONG else 400
UNIT_SIZE = 256 if LONG else 64
MAX_PIXELS = 1_000_000


def kinds() -> dict[str, tuple[bytes, RejectCode]]:
    """The bad images that are quick to make and to read: the 400 megapixels of one are claimed by others too."""
    return {name: kind for name, kind in bad_images().items() if name != "too many pixels/400 MP.png"}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("share", [0.01, 0.5])
def test_a_share_of_bad_images(share: float, tmp_path: Path, ledger: Ledger) -> None:
    photos, output = tmp_path / "photos", tmp_path / "labels"
    photos.mkdir()
    draw = random.Random(share)
    good = [("labelled", BRIGHT), ("empty", DARK), ("labelled", encoded(picture(), "JPEG"))]
    bad = list(kinds().values())
    draw.shuffle(bad)
    is_bad = [n < N_IMAGES * share for n in range(N_IMAGES)]
    draw.shuffle(is_bad)
    n_bad = 0
    expected: list[tuple[str, str, str | None]] = []
    for n, spoilt in enumerate(is_bad):
        path = photos / f"{n:05d}.jpg"  # whatever it is: the content counts
        if spoilt:
            data, code = bad[n_bad % len(bad)]
            n_bad += 1
            expected.append((str(path), "rejected", str(code)))
        else:
            status, data = good[n % len(good)]
            expected.append((str(path), status, None))
        path.write_bytes(data)
    for n in range(0, N_IMAGES // 100 if share > 0.1 else 1):  # and some that are listed, but not there
        path = photos / f"{n:05d}-gone.jpg"
        os.symlink(tmp_path / "nowhere", path)
        expected.append((str(path), "rejected", str(RejectCode.MISSING)))
        n_bad += 1
    expected.sort()

    settings = [f"input.uri={photos}", f"output.uri={output}", f"output.unit_size={UNIT_SIZE}", "prompts=[thing]"]
    label(compose_config("label", [*settings, f"image.max_pixels={MAX_PIXELS}"]), load=FreeModel())

    rows = rows_of(output)
    assert [row["image_id"] for row in rows] == list(range(1, len(expected) + 1))
    assert [(row["uri"], row["status"], row["reject_code"]) for row in rows] == expected
    planned = [image for _, images in Plan(open_storage(str(output), {}), str(output)).units() for image in images]
    assert [(image.image_id, image.uri) for image in planned] == [(row["image_id"], row["uri"]) for row in rows]
    assert all(row["reject_detail"] for row in rows if row["reject_code"])
    ledger.add("a bad image costs itself alone", f"{share:.0%} bad images", run_verify(output), n_fired=n_bad)
