"""Where the objects of a job are, and which reader reads them: a COCO file, a YOLO data set, or a manifest's column."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO, Any

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.prompts.objects import cells, coco, yolo
from autolabel.prompts.objects.source import GivenObjects, InputImages
from autolabel.prompts.ontology import Ontology
from autolabel.storage import open_storage
from autolabel.storage.uris import absolute_uri, join, parent


class ObjectFile:
    """The objects at `objects.uri`."""

    def __init__(self, uri: str, options: dict[str, Any]) -> None:
        self.place, self._uri = uri, absolute_uri(uri)
        self._storage = open_storage(self._uri, options)

    @property
    def _is_coco(self) -> bool:
        return self._uri.lower().endswith(".json")

    @property
    def _data_yaml(self) -> str:
        is_file = self._uri.lower().endswith((".yaml", ".yml"))
        return self._uri if is_file else join(self._uri, yolo.DATA_YAML)

    def categories(self) -> Sequence[Mapping[str, Any]]:
        """Return its categories, with name, id, and perhaps supercategory.

        Raises:
            BadInput: it is not there, or has none.
        """
        try:
            if self._is_coco:
                return self._storage.read_with(self._uri, partial(coco.read_categories, place=self.place))
            return yolo.read_names(self._storage.read(self._data_yaml).decode(errors="replace"), self._data_yaml)
        except (FileNotFoundError, NotADirectoryError) as error:
            what = "does not exist" if self._is_coco else f"is neither COCO's .json nor has it a {yolo.DATA_YAML}"
            raise BadInput(f"objects.uri: {self.place} {what}") from error

    def read(self, ontology: Ontology, config: ObjectsConfig, images: InputImages) -> GivenObjects:
        """Return its objects.

        Raises:
            BadInput: every problem of any of them.
        """
        if self._is_coco:
            read = partial(coco.read_objects, place=self.place, config=config, images=images)
            return self._storage.read_with(self._uri, read)
        return yolo.read_objects(parent(self._data_yaml), self._storage, ontology.by_id.keys(), config, images)

    def sha256(self) -> str:
        """Return what tells it from any other: of its bytes; of label files in a bucket, of their etags."""
        if self._is_coco:
            return self._storage.read_with(self._uri, sha256_of)
        return self._sha256_of_labels(parent(self._data_yaml))

    def _sha256_of_labels(self, folder: str) -> str:
        files = sorted(self._storage.list(folder), key=lambda item: item.uri)
        labels = [item for item in files if item.uri == self._data_yaml or item.uri.lower().endswith(".txt")]

        def mark_of(index: int) -> bytes:
            item = labels[index]
            is_local = self._storage.scheme == "file"
            mark = self._storage.read(item.uri) if is_local or not item.etag else item.etag.encode()
            return item.uri.removeprefix(folder).encode(errors="replace") + b"\0" + hashlib.sha256(mark).digest()

        digest = hashlib.sha256()
        for mark in in_threads(mark_of, range(len(labels)), IO_THREADS):
            digest.update(mark)
        return digest.hexdigest()


def sha256_of(file: IO[bytes]) -> str:
    """Return the sha256 of a file, hexadecimal, in constant memory."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any reader of bytes


class ObjectColumn:
    """The objects in a manifest's column, `objects.column`."""

    def __init__(
        self, column: str, manifest: str, found: Mapping[str, Any], sizes_hw: Mapping[str, tuple[int, int]]
    ) -> None:
        """Take the cells and the stated sizes of images, by URI."""
        self.place = f"{column} of {manifest}"
        self._column, self._cells, self._sizes_hw = column, found, sizes_hw

    def categories(self) -> Sequence[Mapping[str, Any]]:
        return cells.read_names(self._cells, self._column)

    def read(self, ontology: Ontology, config: ObjectsConfig, images: InputImages) -> GivenObjects:
        return cells.read_objects(self._cells, self._sizes_hw, ontology, config, images)
