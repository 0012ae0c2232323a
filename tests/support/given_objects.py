"""Given objects without a job: an input that exists by name alone, and what a reader makes of it, image by image."""

from collections.abc import Callable, Mapping

from autolabel.errors import RejectCode, RejectedImage
from autolabel.prompts.objects.source import GivenObjects, InputImages
from autolabel.prompts.objects.table import ObjectPrompt, read_cells

ROOT = "/in"
SIZE_HW = (80, 100)
Probe = Callable[[str], tuple[int, int]]


def unwanted_probe(uri: str) -> tuple[int, int]:
    raise AssertionError(f"the size of {uri} is known or not needed")


def probe_of_torn(uri: str) -> tuple[int, int]:
    raise RejectedImage(RejectCode.TRUNCATED, "JPEG")


def input_images(*names: str, root: str = ROOT, probe: Probe = unwanted_probe) -> InputImages:
    """Return an input of images of these names below its root."""
    return InputImages(root=root, uris=[f"{root}/{name}" for name in names], probe=probe)


def by_name(given: GivenObjects, images: InputImages) -> Mapping[str, list[ObjectPrompt]]:
    """Return the objects of each image that has some, by its name, as its unit will read them from the plan."""
    cells = given.table.column(0, len(images.uris)).to_pylist()
    on = {
        uri.removeprefix(f"{images.root}/"): list(read_cells(cell))
        for uri, cell in zip(images.uris, cells, strict=True)
    }
    return {name: objects for name, objects in on.items() if objects}
