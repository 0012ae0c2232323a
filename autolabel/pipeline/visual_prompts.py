"""Boxes and points on the images of an input, exemplars and given objects, read before a model is loaded."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from autolabel.config import LabelConfig
from autolabel.errors import BadInput
from autolabel.images.decode import probe_size
from autolabel.inputs import fetch_image
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.prompts import exemplars
from autolabel.prompts.concepts import ImageExemplars
from autolabel.prompts.objects.files import ObjectColumn, ObjectFile, sha256_of
from autolabel.prompts.objects.source import GivenObjects, InputImages
from autolabel.prompts.ontology import Ontology
from autolabel.storage import open_storage
from autolabel.storage.uris import absolute_uri


def images_of(listing: Listing, config: LabelConfig) -> InputImages:
    """Return the images of a listing as readers of boxes and points ask for them."""
    return InputImages(
        root=listing.root, uris=[image.uri for image in listing.images], probe=partial(probe, config=config)
    )


def probe(uri: str, *, config: LabelConfig) -> tuple[int, int]:
    """Return the size (h, w) of an image.

    Raises:
        RejectedImage: it is not there, or is no image.
    """
    data = fetch_image(ImageLocation(uri), config.input.storage_options)
    return probe_size(data, apply_exif=config.image.apply_exif, max_pixels=config.image.max_pixels)


def read_exemplars(config: LabelConfig, concepts: Ontology, listing: Listing) -> Mapping[str, ImageExemplars]:
    """Return the exemplars of the images that have some.

    Raises:
        BadInput: every problem of every box.
    """
    images = images_of(listing, config)
    if config.exemplars.uri is not None:
        uri = absolute_uri(config.exemplars.uri)
        try:
            document = open_storage(uri, config.input.storage_options).read(uri)
        except FileNotFoundError as error:
            raise BadInput(f"exemplars.uri: {config.exemplars.uri} does not exist") from error
        return exemplars.read_coco(
            document,
            place=config.exemplars.uri,
            ontology=concepts,
            config=config.exemplars,
            find_image=images.find,
            probe=images.probe,
        )

    def read_cell(uri: str) -> ImageExemplars | BadInput:
        try:
            return exemplars.read_cell(
                listing.cells[uri],
                place=f"{config.exemplars.column} of {uri}",
                ontology=concepts,
                config=config.exemplars,
                size_hw=listing.sizes_hw.get(uri),
                probe=partial(images.probe, uri),
            )
        except BadInput as error:
            return error

    # sizes that the manifest does not state are read from the images
    cells = dict(zip(listing.cells, in_threads(read_cell, listing.cells, IO_THREADS), strict=True))
    problems = [problem for cell in cells.values() if isinstance(cell, BadInput) for problem in cell.problems]
    if problems:
        raise BadInput(problems)
    return {uri: cell for uri, cell in cells.items() if isinstance(cell, ImageExemplars) and cell.exemplars}


def exemplars_sha256(config: LabelConfig) -> str | None:
    """Return what the exemplars were read from: changing that file changes the labels."""
    uri = config.exemplars.uri or (config.input.uri if config.exemplars.column else None)
    if uri is None:
        return None
    return file_sha256(uri, config.input.storage_options)


def file_sha256(uri: str, options: dict[str, Any]) -> str:
    return open_storage(uri, options).read_with(absolute_uri(uri), sha256_of)


def objects_source(config: LabelConfig, listing: Listing | None) -> ObjectFile | ObjectColumn:
    """Return where the objects of a job are; a column is in the listing."""
    if config.objects.uri is not None:
        return ObjectFile(config.objects.uri, config.input.storage_options)
    if config.objects.column is None or listing is None:
        raise BadInput("objects.column: without a manifest there is none")
    return ObjectColumn(config.objects.column, config.input.uri, listing.cells, listing.sizes_hw)


def read_objects(config: LabelConfig, ontology: Ontology, listing: Listing) -> GivenObjects:
    """Return the objects of the images.

    Raises:
        BadInput: every problem of any of them.
    """
    return objects_source(config, listing).read(ontology, config.objects, images_of(listing, config))


def objects_sha256(config: LabelConfig) -> str | None:
    """Return what the objects were read from, as `exemplars_sha256` does."""
    if config.objects.uri is not None:
        return ObjectFile(config.objects.uri, config.input.storage_options).sha256()
    return file_sha256(config.input.uri, config.input.storage_options) if config.objects.column else None
