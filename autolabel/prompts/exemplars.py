"""Exemplar boxes, read from a COCO file or a manifest's column, and checked.

A positive exemplar says "more of these", a negative one "not these"; both are boxes on the image they are used for.
Problems are raised together as BadInput, each with its place and index.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.config import ExemplarsConfig
from autolabel.errors import BadInput, RejectedImage, did_you_mean, quoted_value
from autolabel.prompts.boxes import box_cxcywh
from autolabel.prompts.concepts import Exemplar, ImageExemplars
from autolabel.prompts.ontology import Category, Ontology, normalized


def read_coco(
    document: bytes,
    *,
    place: str,
    ontology: Ontology,
    config: ExemplarsConfig,
    find_image: Callable[[str], str | None],
    probe: Callable[[str], tuple[int, int]],
) -> dict[str, ImageExemplars]:
    """Return the exemplars of a COCO file by image URI; only images that have some.

    Categories are matched to the ontology by name, images by `file_name`; those that no annotation uses may be unknown.

    Args:
        place: how problems name the file.
        find_image: URI of the plan's image of that file name, or None.
        probe: (h, w) of an image, asked for where boxes are in pixels and the file states no width and height.
            A RejectedImage it raises becomes a problem; anything else passes.

    Raises:
        BadInput: every problem found.
    """
    coco = _CocoFile(document, place, ontology, config, find_image, probe)
    exemplars_of: dict[str, list[Exemplar]] = {}
    for index, annotation in enumerate(coco.annotations):
        where = f"{place} annotations[{index}]"
        if not isinstance(annotation, Mapping):
            coco.problems.append(f"{where}: expected an annotation, not {quoted_value(annotation)}")
            continue
        frame = coco.frame(annotation.get("image_id"), where)
        category = coco.category(annotation.get("category_id"), where)
        if frame and category:
            where += f" (image {frame.file_name!r}, category {category.name!r})"
            exemplar = _read_exemplar(annotation, category, frame.size_hw, config, where, coco.problems)
            exemplars_of.setdefault(frame.uri, []).extend(exemplar)
    frames = {frame.uri: frame for frame in coco.frames.values() if frame}
    for uri, exemplars in exemplars_of.items():
        where = f"{place} (image {frames[uri].file_name!r})"
        coco.problems += _nothing_to_look_for(exemplars, ontology, config, where)
    if coco.problems:
        raise BadInput(coco.problems)
    return {uri: ImageExemplars(size_hw=frames[uri].size_hw, exemplars=tuple(own)) for uri, own in exemplars_of.items()}


def read_cell(
    cell: Any,
    *,
    place: str,
    ontology: Ontology,
    config: ExemplarsConfig,
    size_hw: tuple[int, int] | None,
    probe: Callable[[], tuple[int, int]],
) -> ImageExemplars:
    """Return the exemplars of one image from its cell of a manifest.

    The cell is a list of {category, bbox, negative}, that list as JSON, or null or blank for none. `size_hw` is what
    the manifest states; without it `probe` is asked, where boxes are in pixels. BadInput names every problem found.
    """
    if isinstance(cell, str) and cell.strip():
        cell = _parsed(cell, place)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
        cell = []
    if not isinstance(cell, list | tuple):
        raise BadInput(f"{place}: expected a list of exemplars, not {quoted_value(cell)}")
    problems: list[str] = []
    frame_hw = size_hw
    if cell and not size_hw and not config.normalized:
        frame_hw = _probed(probe, place, problems)
    exemplars: list[Exemplar] = []
    for index, entry in enumerate(cell):
        where = f"{place}[{index}]"
        if not isinstance(entry, Mapping):
            problems.append(f"{where}: expected an exemplar with category and bbox, not {quoted_value(entry)}")
            continue
        fields = ("category", "bbox", "negative")
        unknown = [field for field in entry if field not in fields]
        problems += [
            f"{where}: unknown field {quoted_value(field)}{did_you_mean(str(field), fields)}" for field in unknown
        ]
        category = _category(entry.get("category"), where, ontology, problems)
        if category:
            where += f" (category {category.name!r})"
        if category and (frame_hw or config.normalized):
            exemplars += _read_exemplar(entry, category, frame_hw, config, where, problems)
    problems += _nothing_to_look_for(exemplars, ontology, config, place)
    if problems:
        raise BadInput(problems)
    return ImageExemplars(size_hw=frame_hw, exemplars=tuple(exemplars))


def _read_exemplar(
    entry: Mapping[str, Any],
    category: Category,
    size_hw: tuple[int, int] | None,
    config: ExemplarsConfig,
    where: str,
    problems: list[str],
) -> list[Exemplar]:
    """Return the entry's exemplar, or none and its problems."""
    negative = entry.get("negative")
    if negative is not None and not isinstance(negative, bool):
        problems.append(f"{where}: negative is {quoted_value(negative)}, not true or false")
    if entry.get("iscrowd"):
        problems.append(f"{where}: a crowd (iscrowd) is not a box of one instance")
    try:
        box = box_cxcywh(entry.get("bbox"), box_format=config.box_format, normalized=config.normalized, size_hw=size_hw)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return []
    return [Exemplar(category_id=category.id, box_cxcywh=box, positive=not negative)]


def _nothing_to_look_for(
    exemplars: Sequence[Exemplar], ontology: Ontology, config: ExemplarsConfig, where: str
) -> Iterable[str]:
    if config.use_text:
        return
    positive = {exemplar.category_id for exemplar in exemplars if exemplar.positive}
    for category_id in dict.fromkeys(exemplar.category_id for exemplar in exemplars):
        if category_id not in positive:
            name = ontology.by_id[category_id].name
            yield f"{where} (category {name!r}): only negative exemplars and no text (use_text is false)"


def _category(name: Any, where: str, ontology: Ontology, problems: list[str]) -> Category | None:
    category = ontology.by_name.get(normalized(name)) if isinstance(name, str) else None
    if category is None:
        hint = did_you_mean(name, ontology.by_name) if isinstance(name, str) else ""
        problems.append(f"{where}: unknown category {quoted_value(name)}{hint}")
    return category


def _probed(probe: Callable[[], tuple[int, int]], where: str, problems: list[str]) -> tuple[int, int] | None:
    try:
        return probe()
    except RejectedImage as error:
        problems.append(f"{where}: its size is not stated and cannot be read: {error}")
        return None


def _parsed(text: str | bytes, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: of JSON, with line and column, or of its encoding
        raise BadInput(f"{place}: not JSON: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Frame:
    file_name: str
    uri: str
    size_hw: tuple[int, int] | None  # stated or probed; None where boxes are normalized and no size is stated


class _CocoFile:
    """The tables of a COCO file; images and categories are looked up when an annotation first names them."""

    def __init__(
        self,
        document: bytes,
        place: str,
        ontology: Ontology,
        config: ExemplarsConfig,
        find_image: Callable[[str], str | None],
        probe: Callable[[str], tuple[int, int]],
    ) -> None:
        content = _parsed(document, place)
        if not isinstance(content, dict):
            raise BadInput(f"{place}: expected images, annotations and categories (COCO), not {quoted_value(content)}")
        tables = [content.get(name) for name in ("images", "annotations", "categories")]
        if not all(isinstance(table, list) for table in tables):
            raise BadInput(f"{place}: images, annotations and categories (COCO) must be lists")
        self.place, self.ontology, self.config, self.find_image, self.probe = place, ontology, config, find_image, probe
        self.problems: list[str] = []
        self.annotations: list[Any] = content["annotations"]
        self.frames: dict[_Key, _Frame | None] = {}  # None: looked up, and a problem
        self._categories: dict[_Key, Category | None] = {}
        self._image_rows = self._rows("images", content["images"])
        self._category_rows = self._rows("categories", content["categories"])
        self._row_of_uri: dict[str, str] = {}

    def _rows(self, table: str, entries: list[Any]) -> dict["_Key", tuple[str, Mapping[str, Any]]]:
        """Place (`images[3]`) and entry by the entry's id; the first of several counts."""
        rows: dict[_Key, tuple[str, Mapping[str, Any]]] = {}
        for index, entry in enumerate(entries):
            row, key = f"{table}[{index}]", _key(entry.get("id") if isinstance(entry, Mapping) else None)
            if key is None:
                self.problems.append(f"{self.place} {row}: an entry without a usable id: {quoted_value(entry)}")
            elif key in rows:
                self.problems.append(f"{self.place} {row}: id {quoted_value(key)} is already that of {rows[key][0]}")
            else:
                rows[key] = row, entry
        return rows

    def category(self, category_id: Any, where: str) -> Category | None:
        key = _key(category_id)
        if key not in self._category_rows:
            self.problems.append(f"{where}: category_id {quoted_value(category_id)} is not among the categories")
            return None
        if key not in self._categories:
            row, entry = self._category_rows[key]
            place = f"{self.place} {row}"
            self._categories[key] = _category(entry.get("name"), place, self.ontology, self.problems)
        return self._categories[key]

    def frame(self, image_id: Any, where: str) -> _Frame | None:
        key = _key(image_id)
        if key not in self._image_rows:
            self.problems.append(f"{where}: image_id {quoted_value(image_id)} is not among the images")
            return None
        if key not in self.frames:
            self.frames[key] = self._read_frame(*self._image_rows[key])
        return self.frames[key]

    def _read_frame(self, row: str, entry: Mapping[str, Any]) -> _Frame | None:
        where, file_name = f"{self.place} {row}", entry.get("file_name")
        if not isinstance(file_name, str) or not file_name:
            self.problems.append(f"{where}: file_name is {quoted_value(file_name)}, not a file name")
            return None
        where += f" ({file_name!r})"
        uri = self.find_image(file_name)
        if uri is None:
            self.problems.append(f"{where}: unknown image: none of the input has this name")
            return None
        if self._row_of_uri.setdefault(uri, row) != row:
            self.problems.append(f"{where}: the same image as {self._row_of_uri[uri]}")
            return None
        h, w = entry.get("height"), entry.get("width")
        if h is None and w is None:
            size_hw = None if self.config.normalized else _probed(lambda: self.probe(uri), where, self.problems)
            unread = size_hw is None and not self.config.normalized
            return None if unread else _Frame(file_name=file_name, uri=uri, size_hw=size_hw)
        if type(h) is not int or type(w) is not int or not (1 <= h < 2**31 and 1 <= w < 2**31):
            self.problems.append(
                f"{where}: width {quoted_value(w)} and height {quoted_value(h)} are not two positive integers"
            )
            return None
        return _Frame(file_name=file_name, uri=uri, size_hw=(h, w))


_Key = int | str | None


def _key(value: Any) -> _Key:
    """Return an id of the file as a dictionary key; None for what can be none."""
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None
