"""Names of places: what a URI names, made absolute, and put together. Nothing is opened here."""

import os
import re

from fsspec.utils import glob_translate


def scheme_of(uri: str) -> str:
    """Return `s3` of `s3://bucket/key`; `file` where there is none."""
    match = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", uri)
    return match[1].lower() if match else "file"


def join(folder: str, name: str) -> str:
    """Return the URI of `name` in a folder."""
    return f"{folder.rstrip('/')}/{name}"


def path_of(uri: str) -> str:
    """Return the absolute path that a URI or a path means; `~` is the home folder."""
    path = uri[len("file://") :] if uri.lower().startswith("file://") else os.path.expanduser(uri)
    return os.path.abspath(path)


def absolute_uri(uri: str) -> str:
    """Return a URI that means the same in every process: local paths made absolute."""
    return path_of(uri) if scheme_of(uri) == "file" else uri


def resolve_uri(uri: str, root: str) -> str:
    """Return `uri` below `root`, unless it is absolute; local paths normalised."""
    if scheme_of(uri) != "file":
        return uri
    if scheme_of(root) != "file" and not uri.startswith(("/", "file://")):
        return join(root, uri)
    return path_of(uri if uri.startswith(("/", "file://")) else join(root, uri))


def parent(uri: str) -> str:
    """Return the folder of an object; the bucket where the key has none."""
    folder = uri.rstrip("/").rpartition("/")[0]
    return folder if not folder.endswith("/") else f"{folder}/" if scheme_of(uri) != "file" else "/"


def glob_regex(uri: str) -> re.Pattern[str]:
    """Return what a URI with `*`, `**`, `?` or `[...]` matches as a whole."""
    return re.compile(glob_translate(uri))
