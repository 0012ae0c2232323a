"""Label an image dataset with SAM3: from a bucket of images to RLE masks in Parquet and COCO."""

from typing import TYPE_CHECKING, Any

from autolabel.version import __version__

if TYPE_CHECKING:
    from autolabel.reader.labels import Labels

__all__ = ["Labels", "__version__"]

if not TYPE_CHECKING:  # type checkers would take it for a module with any attribute

    def __getattr__(name: str) -> Any:
        """`autolabel.Labels`, imported when it is asked for: every command imports this package."""
        if name != "Labels":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from autolabel.reader.labels import Labels

        return Labels
