"""From `input.uri` to the list of images: a folder, a prefix, a glob, a manifest or a COCO file.

The order is stable: folders by URI, manifests and COCO files as they are written. An image is its URI, so equal
file names in different folders are different images, and a URI that stands twice is one image.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from autolabel.config import InputConfig
from autolabel.errors import BadInput, did_you_mean_beside
from autolabel.inputs.locations import ImageLocation
from autolabel.inputs.manifests import COCO_COLUMNS, MANIFESTS, Columns, ManifestRow, coco_rows
from autolabel.redaction import has_password
from autolabel.storage import READ_ONLY_SCHEMES, SCHEMES, Listed, Storage, open_storage
from autolabel.storage.uris import absolute_uri, glob_regex, parent, path_of, resolve_uri, scheme_of

URI_COLUMN = InputConfig().uri_column  # where nothing is said
BUCKET_SCHEMES = SCHEMES.keys() - {"file"}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of an input, in plan order.

    `root` is the URI that exported file names are relative to. `sizes_hw` and `cells` hold, by URI, the sizes and the
    exemplar cells that a manifest or COCO file states. `duplicates` are URIs that stood there more than once.
    """

    root: str
    images: list[ImageLocation]
    sizes_hw: dict[str, tuple[int, int]] = field(default_factory=dict)
    cells: dict[str, Any] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)


def list_images(config: InputConfig, *, exemplar_column: str | None) -> Listing:
    """List the input once.

    Raises:
        BadInput: nothing is there, no image is found, or a manifest is malformed; every problem is named.
        StorageError: the storage keeps failing.
    """
    uri = absolute_uri(config.uri)
    storage = open_storage(uri, config.storage_options)
    read_rows = MANIFESTS.get(PurePosixPath(uri).suffix.lower())
    if config.uri_column != URI_COLUMN and read_rows in (None, coco_rows):
        raise BadInput(f"input.uri_column: {config.uri} is no manifest with columns")
    columns = Columns(uri=config.uri_column, exemplars=exemplar_column)
    if read_rows is None:
        listing = list_files(uri, storage, config.suffixes)
    elif exemplar_column is None or read_rows is not coco_rows:
        columns = COCO_COLUMNS if read_rows is coco_rows else columns
        try:
            rows = read_rows(uri, storage, columns)
            listing = list_manifest(uri, rows, config.image_root or parent(uri), columns.uri)
            for scheme in sorted({scheme_of(image.uri) for image in listing.images}):
                open_storage(
                    f"{scheme}://", config.storage_options
                )  # a scheme without a driver is told here, not there
        except FileNotFoundError as error:
            raise BadInput(missing_input(config) or f"input.uri: {uri} does not exist") from error
        if exemplar_column and not listing.cells:
            raise BadInput(f"exemplars.column: no row of {uri} has a value in column {exemplar_column!r}")
    else:
        raise BadInput("exemplars.column: a COCO input has no columns; give its exemplars as exemplars.uri")
    unwritable = [image.uri for image in listing.images if not encodable(image.uri)]
    if unwritable:
        raise BadInput(f"input.uri: {name!r} is not valid UTF-8; rename it" for name in unwritable)
    if not listing.images:
        if read_rows is None and (problem := missing_input(config)):
            raise BadInput(problem)
        what = "is empty" if read_rows else f"holds no file ending in {', '.join(config.suffixes)}"
        raise BadInput(f"input.uri: {uri} {what}")
    return listing


def missing_input(config: InputConfig) -> str | None:
    """Return a problem where the input is of this machine and not there, with what it may have been meant to be."""
    if scheme_of(config.uri) != "file":
        return None
    path = Path(static_part(path_of(config.uri)))
    if os.path.lexists(path):
        return None
    return f"input.uri: {path} does not exist{did_you_mean_beside(path)}"


def list_files(uri: str, storage: Storage, suffixes: list[str]) -> Listing:
    """Return files below a folder, matching a glob, or (on object stores) whose names begin with `uri`; recursive."""
    endings = tuple(f".{suffix.lower().lstrip('.')}" for suffix in suffixes)

    def images(objects: Iterable[Listed]) -> list[ImageLocation]:
        fitting = [ImageLocation(i.uri, i.size_bytes, i.etag) for i in objects if i.uri.lower().endswith(endings)]
        fitting.sort(key=lambda item: item.uri)  # in place: ten million of them fill 3 GB
        return fitting

    in_folder = images(storage.list(uri))
    if in_folder:
        return Listing(root=uri.rstrip("/"), images=in_folder)
    if uri.lower().endswith(endings):
        try:
            image = storage.stat(uri)
            if scheme_of(uri) in READ_ONLY_SCHEMES:
                image = Listed(uri)  # of web servers, many tell another etag or size each time
            return Listing(root=parent(uri), images=images([image]))
        except FileNotFoundError:
            pass  # a glob may end like a file
    if (folder := static_part(uri)) != uri:
        matches = glob_regex(uri).fullmatch
        return Listing(root=folder, images=images(item for item in storage.list(folder) if matches(item.uri)))
    return Listing(root=parent(uri), images=images(storage.list_prefix(uri)))


def static_part(uri: str) -> str:
    """Return the folder that a glob searches; the URI itself if it is none."""
    wildcard = re.search(r"[*?\[]", uri)
    return parent(f"{uri[: wildcard.start()]}x") if wildcard else uri


def encodable(uri: str) -> bool:
    """Return whether a URI can be written as UTF-8; a local file name may be any bytes."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True


def list_manifest(uri: str, rows: Iterable[ManifestRow], root: str, column: str) -> Listing:
    """Return the images that rows name, relative to `root` or absolute; a URI's first row counts."""
    listing = Listing(root=absolute_uri(root).rstrip("/"), images=[])
    seen: set[str] = set()
    problems: list[str] = []
    for row in rows:
        if not isinstance(row.uri, str) or not row.uri.strip():
            problems.append(f"{uri} {row.place}: {column} is {'missing' if row.uri is None else 'empty or not text'}")
            continue
        image_uri = resolve_uri(row.uri, listing.root)
        if has_password(image_uri):
            problems.append(f"{uri} {row.place}: {column} holds a password, which would be written to every row of it")
            continue
        if scheme_of(image_uri) in BUCKET_SCHEMES and not re.match(r"\w+://[^/\s]+/.", image_uri, re.DOTALL):
            problems.append(f"{uri} {row.place}: {image_uri!r} names no object in a bucket")
            continue
        if image_uri in seen:
            listing.duplicates.append(image_uri)
            continue
        seen.add(image_uri)
        listing.images.append(ImageLocation(image_uri, row.size_bytes, row.etag))
        if row.size_hw is not None:
            listing.sizes_hw[image_uri] = row.size_hw
        if row.cell is not None:
            listing.cells[image_uri] = row.cell
    if problems:
        raise BadInput(problems)
    return listing
