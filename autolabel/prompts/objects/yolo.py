"""Objects of a YOLO data set: a text file for each image, a line for each object, and names in data.yaml.

A line is `class cx cy w h` in fractions, perhaps with a confidence behind it, or `class x1 y1 x2 y2 x3 y3 ...`, a
polygon, which gives its box, and where masks are used its mask. An object's name is the number of its line, from 0.
"""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import PurePosixPath
from typing import Any

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput, RejectedImage, quoted_value
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.prompts.objects.entries import Entries, Problems
from autolabel.prompts.objects.source import GivenObjects, InputImages
from autolabel.prompts.yaml_files import read_yaml
from autolabel.storage import Storage
from autolabel.wording import counted, first_few

DATA_YAML = "data.yaml"
BOX, CONFIDENCE, LEAST_POLYGON = 4, 1, 6  # numbers behind the class

log = logging.getLogger("autolabel")


def read_names(data_yaml: str, place: str) -> list[Mapping[str, Any]]:
    """Return the categories of a data.yaml: class n is category n + 1.

    Raises:
        BadInput: it names none.
    """
    document = read_yaml(data_yaml, place)
    names = document.get("names") if isinstance(document, dict) else None
    named = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(named, dict) or not named:
        raise BadInput(f"{place}: names is {quoted_value(names)}, not a list of names or a mapping of numbers to names")
    if faulty := [number for number in named if type(number) is not int or number < 0]:
        raise BadInput(f"{place}: names: class {quoted_value(faulty[0])} is not a number from 0")
    return [{"id": number + 1, "name": name} for number, name in sorted(named.items())]


def read_objects(
    folder: str, storage: Storage, category_ids: Collection[int], config: ObjectsConfig, images: InputImages
) -> GivenObjects:
    """Return the objects of the label files below a folder.

    Raises:
        BadInput: every problem of any file, each with its line.
    """
    label_files = sorted(item.uri for item in storage.list(folder) if item.uri.lower().endswith(".txt"))
    image_of = matched(label_files, folder, images)
    if not image_of:
        examples = f": {first_few(label_files, 3)}" if label_files else ""
        files = counted(len(label_files), "label file")
        raise BadInput(f"objects.uri: {files} below {folder}, none of an image of the input{examples}")
    if others := [uri for uri in label_files if uri not in image_of]:
        files = counted(len(others), "label file")
        log.warning("left out, %s without an image in the input: %s", files, first_few(others, 3))
    problems = Problems()
    entries = Entries(replace(config, box_format="cxcywh", normalized=True), problems)
    sizes_hw: dict[int, tuple[int, int]] = {}
    texts = in_threads(storage.read, image_of, IO_THREADS)
    sizes = in_threads(partial(size_of, images), image_of.values(), IO_THREADS) if config.use_masks else repeat(None)
    for (uri, index), text, size_hw in zip(image_of.items(), texts, sizes, strict=False):
        if isinstance(size_hw, RejectedImage):
            problems.append(f"{images.uris[index]}: its size cannot be read: {size_hw}")
            continue
        if size_hw:
            sizes_hw[index] = size_hw
        for number, line in enumerate(text.decode(errors="replace").splitlines()):
            if not line.strip():
                continue
            place = f"{uri} line {number + 1}"
            try:
                category_id, entry = entry_of(line, category_ids, size_hw)
            except ValueError as error:
                problems.append(f"{place}: {error}")
                continue
            entries.add(entry, image=index, size_hw=size_hw, name=number, category_id=category_id, place=place)
    return GivenObjects(table=entries.table(images.uris), sizes_hw=sizes_hw)


def size_of(images: InputImages, index: int) -> tuple[int, int] | RejectedImage:
    try:
        return images.probe(images.uris[index])
    except RejectedImage as error:
        return error


def matched(label_files: Sequence[str], folder: str, images: InputImages) -> dict[str, int]:
    """Return the images that label files are of, by index.

    That is the image whose path is the same with `images` for the last `labels`, as YOLO's trainers have it; or else
    the one with the same path below the input's root as the label file has below `folder`, folders of these two names
    left out.

    Raises:
        BadInput: an image has two.
    """
    by_path = {stem_of(uri): index for uri, index in images.index_of.items()}
    by_name = {name_below(images.root, uri): index for uri, index in images.index_of.items()}
    of: dict[str, int] = {}
    first: dict[int, str] = {}
    for uri in label_files:
        before, labels, after = stem_of(uri).rpartition("/labels/")
        index = by_path.get(f"{before}/images/{after}") if labels else None
        index = by_name.get(name_below(folder, uri)) if index is None else index
        if index is None:
            continue
        if (other := first.setdefault(index, uri)) != uri:
            raise BadInput(f"objects.uri: {other} and {uri} are both of {images.uris[index]}")
        of[uri] = index
    return of


def stem_of(uri: str) -> str:
    """Return a path or URI without its suffix."""
    return uri.removesuffix(PurePosixPath(uri).suffix)


def name_below(folder: str, uri: str) -> str:
    """Return the path below a folder, without suffix and without folders called images or labels."""
    path = stem_of(uri).removeprefix(folder.rstrip("/") + "/")
    return "/".join(part for part in path.split("/") if part not in ("images", "labels"))


def entry_of(line: str, category_ids: Collection[int], size_hw: tuple[int, int] | None) -> tuple[int, dict[str, Any]]:
    """Return the category and the object of a line; raise ValueError that says what is wrong with it."""
    first, *rest = line.split()
    if not first.isdecimal() or int(first) + 1 not in category_ids:
        raise ValueError(f"class {quoted_value(first)} is not one of {DATA_YAML}'s")
    try:
        numbers = [float(number) for number in rest]
    except ValueError as error:
        raise ValueError(f"{quoted_value(line)} is not a line of numbers") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{quoted_value(line)} is not a line of finite numbers")
    if len(numbers) in (BOX, BOX + CONFIDENCE):
        return int(first) + 1, {"bbox": numbers[:BOX]}
    if len(numbers) < LEAST_POLYGON or len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers behind the class: a box has {BOX}, a polygon two for each point")
    x, y = numbers[::2], numbers[1::2]
    left, top, right, bottom = min(x), min(y), max(x), max(y)
    entry: dict[str, Any] = {"bbox": [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]}
    if size_hw:
        height, width = size_hw
        entry["segmentation"] = [[value for px, py in zip(x, y, strict=True) for value in (px * width, py * height)]]
    return int(first) + 1, entry
