"""Label an image dataset with SAM3: from a bucket of images to RLE masks in Parquet and COCO.

An image goes through seven steps:

1  list     inputs        `input.uri` -> the images that are there
2  plan     plan          these -> `plan.parquet`: ids, and units of images
3  load     images        bytes -> RGB pixels, or why there are none
4  segment  segmentation  pixels and concepts -> scores and mask logits, by `sam3`
5  select   selection     instances and rules -> labels and candidates
6  store    labels        labels of images -> a Parquet file for each unit
7  use      exports, evaluation, review, report, reader  an output -> COCO, figures, a queue, a page, `Labels`

`pipeline` runs steps 1 to 6 on Ray; `output` has a module for each thing that lies in `output.uri`.
"""

from typing import TYPE_CHECKING, Any

from autolabel.version import __version__

if TYPE_CHECKING:
    from autolabel.reader.labels import Labels

__all__ = ["Labels", "__version__"]

if not TYPE_CHECKING:  # type checkers would take it for a module with any attribute

    def __getattr__(name: str) -> Any:
        """Import `autolabel.Labels` when it is asked for: every command imports this package."""
        if name != "Labels":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from autolabel.reader.labels import Labels

        return Labels
