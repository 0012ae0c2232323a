"""Keeping secrets out of what is printed: configurations, commands, URLs."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

OPTIONS = "storage_options"
HIDDEN = "***"
# Of storage_options, what may be shown. Everything else might be a credential, by whatever name its driver gives it.
HARMLESS = {
    *("anon", "endpoint_url", "profile", "region_name", "requester_pays", "use_ssl", "version_aware"),
    *("account_name", "project", "connect_timeout", "read_timeout", "max_pool_connections", "signature_version"),
    *("connection_timeout", "requests_timeout", "retry_for_s"),
    *("allow_private", "heed_robots_tag", "max_mb"),  # of http
}
SECRET_IN_URL = re.compile(
    r"(?<=://)[^/@\s]+(?=@)"  # user:password@
    r"|(?<=[?&])(?P<name>[^=&\s\"']*(?:signature|credential|token|accesskeyid|sig|key|secret)[^=&\s\"']*=)[^&\s\"']+",
    re.IGNORECASE,
)


def redacted(settings: Any, *, within_options: bool = False) -> Any:
    """Return nested settings, with every value of storage_options hidden that is not known to be harmless."""
    if not isinstance(settings, Mapping):
        return settings
    shown = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            shown[name] = redacted(value, within_options=within_options or name == OPTIONS)
        else:
            shown[name] = HIDDEN if within_options and name not in HARMLESS else value
    return shown


def redacted_override(override: str) -> str:
    """Return `output.storage_options.secret=x` without its value; any other override as it is."""
    name, equals, _ = override.partition("=")
    path = name.lstrip("+~").split(".")
    if OPTIONS not in path or (len(path) > path.index(OPTIONS) + 1 and path[-1] in HARMLESS):
        return override
    return f"{name}{equals}{HIDDEN}"


def without_secrets(text: str) -> str:
    """Return a message with what may be secret in its URLs hidden: passwords, and signatures of signed queries."""
    return SECRET_IN_URL.sub(lambda match: f"{match['name'] or ''}{HIDDEN}", text)


def has_password(uri: str) -> bool:
    """Return whether a URL carries a password, which would go wherever the URL goes: logs, run.json, every row."""
    try:
        return urlsplit(uri).password is not None
    except ValueError:  # not a URL; whoever opens it says so
        return False
