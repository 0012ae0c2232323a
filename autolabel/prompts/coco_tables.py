"""Images and categories of a COCO file, looked up when an annotation first names them; others may be unknown.

What is wrong with a row is told once, with its place, to whoever reads the file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autolabel.errors import RejectedImage, quoted_value

Key = int | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """An image that annotations are on."""

    file_name: str
    uri: str
    size_hw: tuple[int, int] | None  # stated or probed; None where it is not needed and not stated


class CocoTables:
    """The tables of a COCO file that annotations refer to."""

    def __init__(
        self,
        place: str,
        *,
        images: Iterable[Any],
        categories: Iterable[Any],
        needs_size: bool,
        find_image: Callable[[str], str | None],
        probe: Callable[[str], tuple[int, int]],
        tell: Callable[[str], object],
    ) -> None:
        """Take the rows of a file.

        Args:
            place: how problems name the file.
            images, categories: the rows.
            needs_size: of the images that annotations name.
            find_image: URI of the plan's image of that file name, or None.
            probe: (h, w) of an image, asked for where its size is needed and not stated. A RejectedImage it raises
                becomes a problem; anything else passes.
            tell: is told each problem.
        """
        self._place, self._needs_size, self._find_image, self._probe = place, needs_size, find_image, probe
        self._tell = tell
        self._images = self._rows("images", images, ("file_name", "height", "width"))
        self._categories = self._rows("categories", categories, ("id", "name", "supercategory"))
        self._frames: dict[Key, Frame | None] = {}  # None: looked up, and a problem
        self._row_of_uri: dict[str, str] = {}

    def _rows(
        self, table: str, entries: Iterable[Any], names: Iterable[str]
    ) -> dict[Key, tuple[str, Mapping[str, Any]]]:
        """Return place (`images[3]`) and fields by the entry's id; the first of several counts."""
        rows: dict[Key, tuple[str, Mapping[str, Any]]] = {}
        for index, entry in enumerate(entries):
            row, id = f"{table}[{index}]", key_of(entry.get("id") if isinstance(entry, Mapping) else None)
            if id is None:
                self._tell(f"{self._place} {row}: an entry without a usable id: {quoted_value(entry)}")
            elif id in rows:
                self._tell(f"{self._place} {row}: id {quoted_value(id)} is already that of {rows[id][0]}")
            else:
                rows[id] = row, {name: entry[name] for name in names if name in entry}
        return rows

    @property
    def categories(self) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Every category, and its place in the file."""
        return self._categories.values()

    def category(self, category_id: Any, where: str) -> tuple[str, Mapping[str, Any]] | None:
        """Return a category and its place in the file; None, and a problem, where it has none of this id."""
        id = key_of(category_id)
        if id is None or id not in self._categories:
            self._tell(f"{where}: category_id {quoted_value(category_id)} is not among the categories")
            return None
        return self._categories[id]

    def frame(self, image_id: Any, where: str) -> Frame | None:
        """Return an image; None, and a problem, where it has none of this id, or one that is of no use."""
        id = key_of(image_id)
        if id is None or id not in self._images:
            self._tell(f"{where}: image_id {quoted_value(image_id)} is not among the images")
            return None
        if id not in self._frames:
            self._frames[id] = self._read_frame(*self._images[id])
        return self._frames[id]

    def frames(self) -> list[Frame]:
        """Return the images that annotations have named."""
        return [frame for frame in self._frames.values() if frame]

    def _read_frame(self, row: str, entry: Mapping[str, Any]) -> Frame | None:
        where, file_name = f"{self._place} {row}", entry.get("file_name")
        if not isinstance(file_name, str) or not file_name:
            self._tell(f"{where}: file_name is {quoted_value(file_name)}, not a file name")
            return None
        where += f" ({file_name!r})"
        uri = self._find_image(file_name)
        if uri is None:
            self._tell(f"{where}: unknown image: none of the input has this name")
            return None
        if self._row_of_uri.setdefault(uri, row) != row:
            self._tell(f"{where}: the same image as {self._row_of_uri[uri]}")
            return None
        h, w = entry.get("height"), entry.get("width")
        if h is None and w is None:
            size_hw = probed(lambda: self._probe(uri), where, self._tell) if self._needs_size else None
            return Frame(file_name=file_name, uri=uri, size_hw=size_hw) if size_hw or not self._needs_size else None
        if type(h) is not int or type(w) is not int or not (1 <= h < 2**31 and 1 <= w < 2**31):
            self._tell(f"{where}: width {quoted_value(w)} and height {quoted_value(h)} are not two positive integers")
            return None
        return Frame(file_name=file_name, uri=uri, size_hw=(h, w))


def key_of(value: Any) -> Key | None:
    """Return an id of the file as a dictionary key; None for what can be none."""
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def probed(probe: Callable[[], tuple[int, int]], where: str, tell: Callable[[str], object]) -> tuple[int, int] | None:
    """Return the size of an image; None, and a problem, where it cannot be read."""
    try:
        return probe()
    except RejectedImage as error:
        tell(f"{where}: its size is not stated and cannot be read: {error}")
        return None
