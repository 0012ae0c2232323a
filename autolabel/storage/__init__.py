"""Where bytes come from and go to: the only package that touches the file system or fsspec.

Every object is addressed by its full URI, as it stands in the plan. A new scheme is one line in `SCHEMES`, and a
module if it lists, reads or creates in a way of its own. README.md says what holds where, and how that was tried.
"""

from importlib import import_module
from typing import Any, cast

from autolabel.errors import BadInput
from autolabel.storage.base import Listed, ObjectChanged, Storage
from autolabel.storage.uris import join, scheme_of

__all__ = ["Listed", "ObjectChanged", "Storage", "check_output", "join", "open_storage", "scheme_of"]

# Module and class of the schemes that can hold an output, because creating an object only if it is absent is atomic
# there. Any other fsspec scheme can be read. A module is imported when it is used: some drivers are extras.
SCHEMES = {
    "file": ("local", "LocalStorage"),
    "s3": ("s3", "S3Storage"),
    "s3a": ("s3", "S3Storage"),
    "gs": ("gcs", "GCSStorage"),
    "gcs": ("gcs", "GCSStorage"),
    "az": ("azure", "AzureStorage"),
    "abfs": ("azure", "AzureStorage"),
    "abfss": ("azure", "AzureStorage"),
}
READ_ONLY_SCHEMES = {"http": ("http", "HttpStorage"), "https": ("http", "HttpStorage")}
ANY_OTHER = ("remote", "RemoteStorage")
EXTRAS = {"gcs": "gcs", "azure": "azure"}  # of this distribution, which bring a module's driver


def open_storage(uri: str, options: dict[str, Any]) -> Storage:
    """Return the storage that `uri` lies on; `options` go to its fsspec driver (local files take none).

    Raises:
        BadInput: no driver is installed for the scheme, or the driver refuses the options.
    """
    scheme = scheme_of(uri)
    return storage_class(scheme)(scheme, options)


def storage_class(scheme: str) -> type[Storage]:
    """Return the class for a scheme.

    Raises:
        BadInput: its driver is not installed.
    """
    module, name = {**SCHEMES, **READ_ONLY_SCHEMES}.get(scheme, ANY_OTHER)
    try:
        found = getattr(import_module(f"autolabel.storage.{module}"), name)
    except ImportError as error:
        extra = EXTRAS.get(module)
        told = f"; pip install '.[{extra}]' in a clone of autolabel brings it" if extra else ""
        raise BadInput(f"{scheme}://: its driver is not installed: {error}{told}") from error
    return cast("type[Storage]", found)


def check_output(uri: str, key: str = "output.uri") -> None:
    """Raise BadInput where an output could not keep its promise that a file is created once, whole or not at all."""
    if scheme_of(uri) not in SCHEMES:
        raise BadInput(f"{key}: {uri!r}: cannot write to {scheme_of(uri)}://; use one of {', '.join(SCHEMES)}")
