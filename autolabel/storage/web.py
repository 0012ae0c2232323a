"""Images behind URLs, whoever's servers these are: what one may cost, and how long a server is waited for.

There is one client in a process. It knows of each host how it has fared, so that one that does not answer costs its own
images and no time of the others.
"""

import asyncio
import atexit
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from math import inf

import aiohttp
from yarl import URL

from autolabel.errors import StorageError
from autolabel.redaction import without_secrets
from autolabel.storage.addresses import LeadsInside, outside_socket
from autolabel.storage.base import PERMANENT, Disallowed, TooLarge, Unreachable
from autolabel.version import __version__

USER_AGENT = f"autolabel/{__version__} (labels images; heeds X-Robots-Tag)"
CONNECT_S = 10.0
SILENT_S = 30.0  # without a byte
IN_ALL_S = 60.0  # for the requests of one attempt
REDIRECTS = 5
CONNECTIONS_PER_HOST = 4
RETRY_DELAYS_S = (2.0, 8.0, 20.0)
RETRY_FOR_S = 60.0
DOWN_S = 60.0  # how long a host that has failed is left alone, twice as long each time
LONGEST_DOWN_S = 600.0
REQUESTS_REMEMBERED = 1000
HOSTS_REMEMBERED = 10_000
DNS_THREADS = 32
PASSING_STATUSES = {408, 425, 429}
REDIRECTING = {301, 302, 303, 307, 308}
DISALLOWING = {"noai", "noimageai", "noindex", "noimageindex"}  # as img2dataset has it
NOT_AGENTS = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}


@dataclass(frozen=True, kw_only=True)
class WebLimits:
    """Limits that `storage_options.http` sets."""

    max_mb: float = 64.0
    allow_private: bool = False
    heed_robots_tag: bool = True


@dataclass(frozen=True)
class WebObject:
    """The bytes behind a URL, and their etag where the server tells one."""

    data: bytes
    etag: str | None


class Passing(Exception):
    """An attempt that failed where another may succeed; `wait_s` is how long the host asks to be let alone."""

    def __init__(self, host: "Host", told: str, wait_s: float | None = None) -> None:
        super().__init__(told)
        self.host, self.told, self.wait_s = host, told, wait_s


class LeftAlone(Unreachable):
    """A host that nobody was asked of, because it has failed just now."""


@dataclass
class Host:
    """Record of how a server has fared. Times are of time.monotonic()."""

    name: str
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS_PER_HOST))
    answered_at: float = -inf
    failing_since: float = inf
    n_failed: int = 0  # since the last answer
    last_error: str = ""
    resume_at: float = -inf  # as the host has asked
    down_until: float = -inf
    down_s: float = 0.0

    def answered(self) -> None:
        self.answered_at = time.monotonic()
        self.failing_since, self.n_failed, self.down_until, self.down_s = inf, 0, -inf, 0.0

    def failed(self, began: float, told: str) -> None:
        self.failing_since = min(self.failing_since, began)
        self.n_failed += 1
        self.last_error = told

    def given_up(self, began: float) -> None:
        """Leave the host alone for a while, if it has answered nobody since `began`."""
        if self.answered_at < began:
            self.down_s = min(2 * self.down_s, LONGEST_DOWN_S) or DOWN_S
            self.down_until = time.monotonic() + self.down_s

    @property
    def is_hopeless(self) -> bool:
        """Tell whether all who ask have failed as often and for as long as one would have tried."""
        return self.n_failed > len(RETRY_DELAYS_S) and time.monotonic() - self.failing_since >= sum(RETRY_DELAYS_S)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a connection, and for as long as the host has asked.

        Raises:
            LeftAlone: it has failed just now.
        """
        async with self.slots:
            while (wait_s := self.resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if time.monotonic() < self.down_until:
                raise LeftAlone(f"{self.name} does not answer: {self.last_error}")
            yield


class WebClient:
    """Fetches from a thread of its own; any number of threads may ask.

    Args:
        for_s: how long a host is waited for that asks for it.
    """

    def __init__(self, limits: WebLimits, for_s: float) -> None:
        self._limits, self._for_s = limits, for_s
        self._hosts: dict[str, Host] = {}
        self._recent: deque[bool] = deque(maxlen=REQUESTS_REMEMBERED)  # whether they failed
        self._session: aiohttp.ClientSession | None = None
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns"))
        threading.Thread(target=self._loop.run_forever, name="web", daemon=True).start()
        atexit.register(self._close)

    def fetch(self, url: str) -> WebObject:
        """Get what is behind a URL.

        Raises:
            FileNotFoundError, PermissionError, Disallowed, TooLarge: as the server says, or the limits.
            Unreachable: its host does not answer, or not in a way that can be used.
            StorageError: most of the last requests to any host have failed.
        """
        return asyncio.run_coroutine_threadsafe(self._fetch(url), self._loop).result()

    async def _fetch(self, text: str) -> WebObject:
        try:
            url = URL(text)
        except ValueError as error:
            raise FileNotFoundError(f"not a URL: {error}") from error
        began, n_failed = time.monotonic(), 0
        while True:
            try:
                answer = await self._follow(url)
            except LeftAlone:
                raise
            except Unreachable:
                self._remember(failed=True)
                raise
            except (*PERMANENT, Disallowed, TooLarge):
                self._remember(failed=False)
                raise
            except Passing as error:
                n_failed += 1
                wait_s = self._wait_s(error, began, n_failed)
                if wait_s is None:
                    error.host.given_up(began)
                    self._remember(failed=True)
                    tried_s = time.monotonic() - began
                    told = f"{error.host.name}: {error.told} (tried {n_failed} times in {tried_s:.0f} s)"
                    raise Unreachable(without_secrets(told)) from error
                await asyncio.sleep(wait_s)
            else:
                self._remember(failed=False)
                return answer

    def _wait_s(self, error: Passing, began: float, n_failed: int) -> float | None:
        """Return how long to wait before another attempt; None where there is to be none."""
        spent_s = time.monotonic() - began
        if error.wait_s is not None:  # as long as it says, however often
            return error.wait_s if spent_s + error.wait_s <= self._for_s else None
        if n_failed > len(RETRY_DELAYS_S) or error.host.is_hopeless:
            return None
        delay_s = RETRY_DELAYS_S[n_failed - 1]
        return delay_s if spent_s + delay_s <= min(RETRY_FOR_S, self._for_s) else None

    def _remember(self, *, failed: bool) -> None:
        self._recent.append(failed)
        n_failed = sum(self._recent)
        if failed and len(self._recent) == REQUESTS_REMEMBERED and n_failed > REQUESTS_REMEMBERED / 2:
            raise StorageError(
                f"{n_failed} of the last {REQUESTS_REMEMBERED} URLs could not be reached: this looks like the network "
                "here, and not like their servers"
            )

    async def _follow(self, url: URL) -> WebObject:
        """Make an attempt: a request, and those that it is redirected to."""
        left_s = IN_ALL_S
        for _ in range(1 + REDIRECTS):
            host = self._host_of(url)
            async with host.turn():
                began = time.monotonic()
                try:
                    async with asyncio.timeout(left_s):
                        answer = await self._request(url, host)
                except (*PERMANENT, StorageError):
                    host.answered()
                    raise
                except Passing as error:
                    host.failed(began, error.told)
                    if error.wait_s is not None and error.wait_s <= self._for_s:
                        host.resume_at = time.monotonic() + error.wait_s
                    raise
                except (aiohttp.ClientError, OSError) as error:
                    told = str(error) or f"not done in {IN_ALL_S:g} s"
                    host.failed(began, told)
                    raise Passing(host, told) from error
                host.answered()
                left_s -= time.monotonic() - began
            if isinstance(answer, WebObject):
                return answer
            url = answer
        raise Unreachable(f"redirected more than {REDIRECTS} times")

    def _host_of(self, url: URL) -> Host:
        if url.scheme not in ("http", "https") or not url.host:
            raise FileNotFoundError(f"not a URL of http or https: {without_secrets(str(url))}")
        name = f"{url.host}:{url.port}"
        if name not in self._hosts:
            if len(self._hosts) == HOSTS_REMEMBERED:
                del self._hosts[next(iter(self._hosts))]  # the one that was met first
            self._hosts[name] = Host(name)
        return self._hosts[name]

    async def _request(self, url: URL, host: Host) -> WebObject | URL:
        """Make one request; what it brings, or where it leads."""
        try:
            async with self._opened().get(url, allow_redirects=False) as answer:
                if answer.status in REDIRECTING and (location := answer.headers.get("Location")):
                    return url.join(URL(location))
                check_status(answer, host)
                if self._limits.heed_robots_tag:
                    check_robots_tag(answer.headers.getall("X-Robots-Tag", ()))
                data = await self._body(answer)
                return WebObject(data, answer.headers.get("ETag"))
        except (aiohttp.InvalidURL, ValueError) as error:
            raise FileNotFoundError(f"not a URL: {without_secrets(str(error))}") from error
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as error:
            raise Unreachable(f"{host.name}: {error}") from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, LeadsInside):
                told = f"{host.name}: {error.os_error.strerror}; storage_options.http.allow_private=true allows that"
                raise PermissionError(told) from error
            raise

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        most_bytes = round(self._limits.max_mb * 1_000_000)
        told = f"more than storage_options.http.max_mb={self._limits.max_mb:g}"
        if (answer.content_length or 0) > most_bytes:
            raise TooLarge(f"{answer.content_length} bytes, {told}")
        data = bytearray()
        async for piece in answer.content.iter_any():
            data += piece
            if len(data) > most_bytes:
                raise TooLarge(told)
        return bytes(data)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,  # each host has its own
                ttl_dns_cache=60,
                socket_factory=None if self._limits.allow_private else outside_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S),
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _close(self) -> None:
        """End without a warning of what is still open."""
        if self._session is not None:
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._session.close(), self._loop).result(timeout=1)


clients: dict[tuple[WebLimits, float], WebClient] = {}  # of this process
making_client = threading.Lock()


def client_of(limits: WebLimits, for_s: float) -> WebClient:
    """Return the client of this process for these limits."""
    with making_client:
        if (limits, for_s) not in clients:
            clients[limits, for_s] = WebClient(limits, for_s)
        return clients[limits, for_s]


def check_status(answer: aiohttp.ClientResponse, host: Host) -> None:
    """Raise what a status other than success means for the image."""
    status = answer.status
    if 200 <= status < 300:
        return
    told = f"{status} {answer.reason or ''}".strip()
    if status in (404, 410):
        raise FileNotFoundError(told)
    if status >= 500 or status in PASSING_STATUSES:
        raise Passing(host, told, asked_to_wait_s(answer.headers))
    if status < 400:
        raise Unreachable(f"{host.name}: {told}, which leads nowhere")
    raise PermissionError(told)


def asked_to_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from now that Retry-After says, as a number or a date, at least one; None where it says nothing."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return max(1.0, float(text))
    try:
        return max(1.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def check_robots_tag(values: Iterable[str]) -> None:
    """Raise Disallowed where a server asks that its image be not indexed or learnt from.

    A value is directives between commas; those after the name of an agent and a colon are for that agent alone.
    """
    for value in values:
        agent = "autolabel"
        for part in value.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and name.strip() not in NOT_AGENTS:
                agent, part = name.strip(), rest
            if agent == "autolabel" and part.strip() in DISALLOWING:
                raise Disallowed(f"X-Robots-Tag: {value}; storage_options.http.heed_robots_tag=false labels it anyway")
