"""http:// and https://: what the user names is read by fsspec's driver, and what a list of URLs names by `web`."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any

from yarl import URL

from autolabel.errors import BadInput, did_you_mean
from autolabel.storage.base import Listed, ObjectChanged
from autolabel.storage.remote import RemoteStorage
from autolabel.storage.web import WebLimits, client_of


class HttpStorage(RemoteStorage):
    """Web servers. A manifest may name any, so that `fetch` waits for none long, takes no more than an image may have,
    and finds no way into the network here; `storage_options.http` says what else is allowed.
    """

    def __init__(self, scheme: str, options: dict[str, Any]) -> None:
        super().__init__(scheme, options)
        self._limits = web_limits(options.get("http") or {})

    def fetch(self, uri: str, *, etag: str | None = None) -> bytes:
        found = client_of(self._limits, self.retry_for_s).fetch(uri)
        if etag is not None and bare(found.etag) != bare(etag):
            raise ObjectChanged(f"etag {bare(found.etag)}, listed with {etag}")
        return found.data

    def list(self, uri: str) -> Iterator[Listed]:
        """List the links of an index page, and of the pages below it; nothing where the URL is that of a file."""
        return iter(()) if PurePosixPath(URL(uri).path).suffix else super().list(uri)


def bare(etag: str | None) -> str | None:
    return etag and etag.removeprefix("W/").strip('"')


def web_limits(options: Any) -> WebLimits:
    """Read `storage_options.http`.

    Raises:
        BadInput: every problem of it.
    """
    if not isinstance(options, dict):
        raise BadInput(f"storage_options.http: {options!r} is not a mapping")
    known = {each.name: each.default for each in fields(WebLimits)}
    problems = [
        f"storage_options.http: there is no {name!r}{did_you_mean(name, known)}; it takes {', '.join(known)}"
        for name in options
        if name not in known
    ]
    for name in known.keys() & options.keys():
        value = options[name]
        if isinstance(known[name], bool):
            if not isinstance(value, bool):
                problems.append(f"storage_options.http.{name}: {value!r} is neither true nor false")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            problems.append(f"storage_options.http.{name}: {value!r} is not a number above 0")
    if problems:
        raise BadInput(problems)
    return WebLimits(**options)
