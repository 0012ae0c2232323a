"""Where bytes come from and go to: the only package that touches the file system or fsspec.

Every object is addressed by its full URI, as it stands in the plan. A new scheme is one line in `SCHEMES`, and a
module if it lists, reads or creates in a way of its own.
"""

from typing import Any

from autolabel.errors import BadInput
from autolabel.storage.base import Listed, ObjectChanged, Storage
from autolabel.storage.local import LocalStorage
from autolabel.storage.remote import RemoteStorage
from autolabel.storage.s3 import S3Storage
from autolabel.storage.uris import join, scheme_of

__all__ = ["Listed", "ObjectChanged", "Storage", "check_output", "join", "open_storage", "scheme_of"]

# Schemes that can hold an output, because creating an object only if it is absent is atomic there. Any other fsspec
# scheme can be read.
SCHEMES: dict[str, type[Storage]] = {
    "file": LocalStorage,
    "s3": S3Storage,
    "s3a": S3Storage,
    "gs": RemoteStorage,  # gcsfs: ifGenerationMatch=0
    "gcs": RemoteStorage,
    "az": RemoteStorage,  # adlfs: overwrite=False
    "abfs": RemoteStorage,
    "abfss": RemoteStorage,
}


def open_storage(uri: str, options: dict[str, Any]) -> Storage:
    """Return the storage that `uri` lies on; `options` go to its fsspec driver (local files take none).

    Raises:
        BadInput: no driver is installed for the scheme, or the driver refuses the options.
    """
    scheme = scheme_of(uri)
    return SCHEMES.get(scheme, RemoteStorage)(scheme, options)


def check_output(uri: str, key: str = "output.uri") -> None:
    """Raise BadInput where an output could not keep its promise that a file is created once, whole or not at all."""
    if scheme_of(uri) not in SCHEMES:
        raise BadInput(f"{key}: {uri!r}: cannot write to {scheme_of(uri)}://; use one of {', '.join(SCHEMES)}")
