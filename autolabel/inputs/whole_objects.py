"""Images that are objects of their own: the files of a folder, the keys of a bucket, what a manifest names."""

from autolabel.errors import RejectCode, RejectedImage
from autolabel.inputs.locations import ImageLocation
from autolabel.storage import ObjectChanged, Storage
from autolabel.storage.base import Disallowed, TooLarge, Unreachable


def fetch_object(image: ImageLocation, storage: Storage) -> bytes:
    """Return the bytes that were listed.

    Raises:
        RejectedImage: this object is gone, was replaced, may not be read, or its web server does not give it.
        StorageError: the storage keeps failing; nothing is known about the image.
    """
    try:
        data = storage.fetch(image.uri, etag=image.etag)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise RejectedImage(RejectCode.MISSING, "no longer there" if image.etag else "not there") from error
    except PermissionError as error:
        raise RejectedImage(RejectCode.FORBIDDEN, str(error)) from error
    except ObjectChanged as error:
        raise RejectedImage(RejectCode.CHANGED, str(error)) from error
    except Unreachable as error:
        raise RejectedImage(RejectCode.UNREACHABLE, str(error)) from error
    except TooLarge as error:
        raise RejectedImage(RejectCode.TOO_LARGE, str(error)) from error
    except Disallowed as error:
        raise RejectedImage(RejectCode.DISALLOWED, str(error)) from error
    if image.size_bytes is not None and len(data) != image.size_bytes:
        raise RejectedImage(RejectCode.CHANGED, f"{len(data)} bytes, listed with {image.size_bytes}")
    return data
