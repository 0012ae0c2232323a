"""Servers that misbehave: what each costs, and whom."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest

from autolabel.errors import BadInput, RejectCode, RejectedImage, StorageError
from autolabel.inputs import fetch_image
from autolabel.inputs.locations import ImageLocation
from autolabel.storage import addresses, open_storage, web
from autolabel.storage.addresses import leads_outside
from autolabel.storage.base import Disallowed, TooLarge, Unreachable
from autolabel.storage.web import WebClient, WebLimits, check_robots_tag
from tests.support.web_server import Web, web_server

OWN = {"http": {"allow_private": True}}


@pytest.fixture
def server() -> Iterator[Web]:
    with web_server() as server:
        server.files["a.jpg"] = b"image"
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits a twentieth of what they are."""
    for name in ("CONNECT_S", "SILENT_S", "IN_ALL_S", "RETRY_FOR_S", "DOWN_S", "LONGEST_DOWN_S"):
        monkeypatch.setattr(web, name, getattr(web, name) / 20)
    monkeypatch.setattr(web, "RETRY_DELAYS_S", tuple(each / 20 for each in web.RETRY_DELAYS_S))


@pytest.fixture
def client(hasty: None) -> WebClient:
    return WebClient(WebLimits(allow_private=True), for_s=4)


def test_what_is_there_is_fetched(server: Web, client: WebClient) -> None:
    assert client.fetch(server.url("a.jpg")).data == b"image"
    assert server.n_requests == {"a.jpg": 1}
    (agent,) = server.agents
    assert agent.startswith("autolabel/")


def test_names_with_blanks_are_found(server: Web, client: WebClient) -> None:
    server.files["with blank+plus.jpg"] = b"blank"
    for path in ("with blank+plus.jpg", "with%20blank+plus.jpg"):
        assert client.fetch(server.url(path)).data == b"blank"


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        ("status/?status=404", FileNotFoundError, "404"),
        ("status/?status=410", FileNotFoundError, "410"),
        ("status/?status=401", PermissionError, "401"),
        ("status/?status=403", PermissionError, "403 Forbidden"),
        ("status/?status=451", PermissionError, "451"),
        ("status/?status=304", Unreachable, "304"),
        ("redirect/?to=ftp://127.0.0.1/a.jpg", FileNotFoundError, "not a URL of http or https"),
        ("redirect/?to=file:///etc/passwd", FileNotFoundError, "not a URL of http or https"),
        ("redirect/?to=http://[/", FileNotFoundError, "not a URL"),
        ("a.jpg?robots=noai", Disallowed, "X-Robots-Tag: noai"),
        ("claims/?length=64000001", TooLarge, "64000001 bytes"),
        ("large/", TooLarge, "max_mb=64"),
    ],
)
def test_what_a_server_says_once_is_not_asked_again(
    path: str, error: type[Exception], told: str, server: Web, client: WebClient
) -> None:
    with pytest.raises(error, match=told):
        client.fetch(server.url(path))
    assert server.n_requests.total() == 1
    assert client.fetch(server.url("a.jpg")).data == b"image"


@pytest.mark.parametrize("url", ["http://", "http:///a.jpg", "http://[::1", "http://127.1:99999/x.jpg"])
def test_what_is_no_url_is_missing(url: str, client: WebClient) -> None:
    with pytest.raises(FileNotFoundError, match="not a URL"):
        client.fetch(url)


def test_a_large_body_is_not_taken_in(server: Web) -> None:
    client, began = WebClient(WebLimits(max_mb=2, allow_private=True), for_s=4), time.monotonic()
    with pytest.raises(TooLarge, match="more than storage_options.http.max_mb=2"):
        client.fetch(server.url("large/"))
    assert time.monotonic() - began < 2


def test_five_redirects_are_followed_and_no_more(server: Web, client: WebClient) -> None:
    url = server.url("a.jpg")
    for _ in range(5):
        url = server.url(f"redirect/?to={url.replace('?', '%3F').replace('&', '%26')}")
    assert client.fetch(server.url("redirect/?to=/a.jpg")).data == b"image"
    with pytest.raises(Unreachable, match="redirected more than 5 times"):
        client.fetch(server.url("loop/"))
    assert server.n_requests["loop/"] == 6


@pytest.mark.parametrize(
    "path", ["status/?status=503&times=2", "status/?status=500&times=3", "status/?status=429&times=1"]
)
def test_what_passes_is_asked_for_again(path: str, server: Web, client: WebClient) -> None:
    assert client.fetch(server.url(path)).data == b"at last"


@pytest.mark.parametrize(
    ("path", "told", "n_requests"),
    [
        ("status/?status=500", "500 Internal Server Error", 4),
        ("status/?status=429", "429 Too Many Requests", 4),
        ("short/", "payload is not completed", 4),
        ("silent/", "Timeout on reading data", 2),
        ("endless/", "not done in 3 s", 1),
    ],
)
def test_what_does_not_pass_is_given_up_in_time(
    path: str, told: str, n_requests: int, server: Web, client: WebClient
) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=rf"127.0.0.1:\d+: .*{told}.* \(tried {n_requests} times in \d s\)"):
        client.fetch(server.url(path))
    assert server.n_requests.total() == n_requests
    assert time.monotonic() - began < 7


def test_a_host_that_is_not_there_is_given_up_in_time(client: WebClient) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a.jpg"
        with pytest.raises(Unreachable, match=r"Cannot connect.*\(tried 4 times"):
            client.fetch(url)
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(Unreachable, match="does not answer: Cannot connect"):
                client.fetch(url)
        assert time.monotonic() - began < 0.5, "its other images wait for it, too"


def test_a_host_is_tried_again_later(server: Web, client: WebClient) -> None:
    down = server.url("status/?status=503&times=5")
    with pytest.raises(Unreachable, match="tried 4 times"):
        client.fetch(down)
    with pytest.raises(Unreachable, match="does not answer"):
        client.fetch(down)
    time.sleep(web.DOWN_S)
    with pytest.raises(Unreachable, match="tried 1 times"):
        client.fetch(down)
    time.sleep(2 * web.DOWN_S)
    assert client.fetch(down).data == b"at last"
    assert client.fetch(server.url("a.jpg")).data == b"image"


def test_an_image_that_always_fails_costs_no_other_of_its_host(server: Web, client: WebClient) -> None:
    with ThreadPoolExecutor() as pool:
        bad = pool.submit(client.fetch, server.url("status/?status=500"))
        while not bad.done():
            assert client.fetch(server.url("a.jpg")).data == b"image"
            time.sleep(0.02)
        assert isinstance(bad.exception(), Unreachable)
        assert client.fetch(server.url("a.jpg")).data == b"image"


def test_a_dead_host_costs_sixteen_threads_no_more_than_one(server: Web, client: WebClient) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        tried = [pool.submit(client.fetch, server.url(f"silent/{n}")) for n in range(64)]
        assert all(isinstance(each.exception(), Unreachable) for each in tried)
    assert time.monotonic() - began < 2 * web.RETRY_FOR_S


def test_a_host_is_waited_for_as_it_asks_and_others_are_not(server: Web, client: WebClient) -> None:
    with web_server() as other, ThreadPoolExecutor() as pool:
        other.files["b.jpg"] = b"other"
        began = time.monotonic()
        waiting = pool.submit(client.fetch, server.url("status/?status=429&times=1&retry_after=2"))
        time.sleep(0.2)
        same = pool.submit(client.fetch, server.url("a.jpg"))
        assert client.fetch(other.url("b.jpg")).data == b"other"
        assert time.monotonic() - began < 1
        assert same.result().data == b"image"
        assert waiting.result().data == b"at last"
        assert 2 <= time.monotonic() - began < 3.5
    assert server.n_requests == {"status/": 2, "a.jpg": 1}


def test_a_wait_may_be_a_date(server: Web, client: WebClient) -> None:
    began = time.monotonic()
    later = formatdate(time.time() + 3, usegmt=True).replace(" ", "%20")
    assert client.fetch(server.url(f"status/?status=503&times=1&retry_after={later}")).data == b"at last"
    assert 1 < time.monotonic() - began < 4


def test_a_host_is_not_waited_for_longer_than_storages_are(server: Web, client: WebClient) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="429.*tried 1 times"):
        client.fetch(server.url("status/?status=429&retry_after=3600"))
    with web_server() as other, pytest.raises(Unreachable, match="429.*tried 2 times"):
        client.fetch(other.url("status/?status=429&retry_after=2"))
    assert time.monotonic() - began < 6


def test_a_host_has_four_connections(server: Web, client: WebClient) -> None:
    with ThreadPoolExecutor(16) as pool:
        for fetched in pool.map(client.fetch, [server.url("a.jpg?after_s=0.05")] * 64):
            assert fetched.data == b"image"
    assert server.most_at_once == 4


@pytest.mark.parametrize(
    ("value", "heeded"),
    [
        ("noai", True),
        ("NoIndex", True),
        ("all, noimageai", True),
        ("noimageindex, nofollow", True),
        ("autolabel: noai", True),
        ("googlebot: noindex", False),
        ("googlebot: noindex, nofollow, autolabel: noai", True),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", True),
        ("all", False),
        ("nofollow", False),
        ("", False),
    ],
)
def test_robots_tags(value: str, heeded: bool) -> None:
    if heeded:
        with pytest.raises(Disallowed, match="heed_robots_tag=false"):
            check_robots_tag(["all", value])
    else:
        check_robots_tag(["all", value])


def test_robots_tags_may_be_passed_over(server: Web) -> None:
    client = WebClient(WebLimits(allow_private=True, heed_robots_tag=False), for_s=4)
    assert client.fetch(server.url("a.jpg?robots=noai")).data == b"image"


INSIDE = [
    "127.0.0.1",
    "127.255.1.1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.9.9",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "0.0.0.0",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
    "240.0.0.1",
    "198.18.0.1",
    "192.0.0.192",
    "168.63.129.16",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2001:db8::1",
]
OUTSIDE = [
    "8.8.8.8",
    "172.32.0.1",
    "169.253.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_leads_inside(address: str) -> None:
    assert not leads_outside(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_that_leads_outside(address: str) -> None:
    assert leads_outside(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_no_name_leads_inside(host: str, server: Web, hasty: None) -> None:
    client, port = WebClient(WebLimits(), for_s=4), server.origin.rpartition(":")[2]
    with pytest.raises((PermissionError, FileNotFoundError), match="private network|not a canonical"):
        client.fetch(f"http://{host}:{port}/a.jpg")
    assert server.n_requests.total() == 0


def resolving(places: dict[str, list[str]]) -> Callable[..., Any]:
    """A getaddrinfo that knows some names, and each other as it is."""
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host not in places:
            return known(host, port, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in places[host]]

    return getaddrinfo


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server at an address that passes for a private one; 127.0.0.1 passes for one of the internet."""
    monkeypatch.setattr(addresses, "leads_outside", lambda address: address == "127.0.0.1")
    with web_server("127.0.0.2") as inside:
        inside.files["secret.jpg"] = b"secret"
        yield inside


def test_no_redirect_leads_inside(server: Web, inside: Web, hasty: None) -> None:
    client = WebClient(WebLimits(), for_s=4)
    assert client.fetch(server.url("redirect/?to=/a.jpg")).data == b"image"
    with pytest.raises(PermissionError, match=r"127.0.0.2:\d+: .*private network.*allow_private=true"):
        client.fetch(server.url(f"redirect/?to={inside.url('secret.jpg')}"))
    assert inside.n_requests.total() == 0
    own = WebClient(WebLimits(allow_private=True), for_s=4)
    assert own.fetch(server.url(f"redirect/?to={inside.url('secret.jpg')}")).data == b"secret"


def test_no_answer_of_a_name_server_leads_inside(
    server: Web, inside: Web, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {
        "images.example": ["127.0.0.1"],
        "inside.example": ["127.0.0.2"],
        "both.example": ["127.0.0.2", "127.0.0.1"],
    }
    monkeypatch.setattr(socket, "getaddrinfo", resolving(places))
    client = WebClient(WebLimits(), for_s=4)
    inner, outer = (web.origin.rpartition(":")[2] for web in (inside, server))
    assert client.fetch(f"http://images.example:{outer}/a.jpg").data == b"image"
    assert client.fetch(f"http://both.example:{outer}/a.jpg").data == b"image"
    for host in ("inside.example", "inside.example."):
        places[host] = ["127.0.0.2"]
        with pytest.raises(PermissionError, match="private network"):
            client.fetch(f"http://{host}:{inner}/secret.jpg")
    places["images.example"] = ["127.0.0.2"]  # as a name is that changes between being looked at and being used
    with pytest.raises(PermissionError, match="private network"):
        client.fetch(f"http://images.example:{inner}/secret.jpg")
    assert inside.n_requests.total() == 0


def test_most_of_the_last_thousand_failing_is_the_network_here(
    server: Web, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "REQUESTS_REMEMBERED", 20)
    monkeypatch.setattr(web, "RETRY_DELAYS_S", ())
    monkeypatch.setattr(web, "DOWN_S", 0.0)
    client = WebClient(WebLimits(allow_private=True), for_s=4)
    for _ in range(10):
        assert client.fetch(server.url("a.jpg")).data == b"image"
        with pytest.raises(FileNotFoundError):
            client.fetch(server.url("missing.jpg"))  # an answer, too
    for _ in range(10):
        with pytest.raises(Unreachable):
            client.fetch(server.url("status/?status=500"))
    with pytest.raises(
        StorageError, match="11 of the last 20 URLs could not be reached: this looks like the network"
    ) as told:
        client.fetch(server.url("status/?status=500"))
    assert not isinstance(told.value, Unreachable)


def test_one_dead_host_is_never_the_network_here(server: Web, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUESTS_REMEMBERED", 20)
    client = WebClient(WebLimits(allow_private=True), for_s=4)
    with web_server() as dead:
        pass
    for n in range(100):
        if n % 5 == 0:
            assert client.fetch(server.url("a.jpg")).data == b"image"
        else:
            with pytest.raises(Unreachable):
                client.fetch(dead.url(f"{n}.jpg"))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("silent/", RejectCode.UNREACHABLE),
        ("large/", RejectCode.TOO_LARGE),
        ("a.jpg?robots=noindex", RejectCode.DISALLOWED),
        ("status/?status=403", RejectCode.FORBIDDEN),
        ("missing.jpg", RejectCode.MISSING),
    ],
)
def test_each_has_a_code(
    path: str, code: RejectCode, server: Web, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "clients", {})
    with pytest.raises(RejectedImage) as rejected:
        fetch_image(ImageLocation(server.url(path)), {**OWN, "retry_for_s": 1})
    assert rejected.value.code == code


def test_secrets_of_urls_are_not_told(server: Web, client: WebClient) -> None:
    with pytest.raises(Unreachable) as told:
        client.fetch(server.url("redirect/?to=http://127.0.0.1:1/a.jpg?X-Amz-Signature=5ec"))
    assert "5ec" not in str(told.value)


def test_an_etag_of_the_manifest_is_compared(server: Web) -> None:
    storage = open_storage(server.origin, OWN)
    assert storage.fetch(server.url("a.jpg")) == b"image"
    with pytest.raises(RejectedImage, match="changed: etag None, listed with 5"):
        fetch_image(ImageLocation(server.url("a.jpg"), etag="5"), OWN)


def test_options_are_checked() -> None:
    with pytest.raises(BadInput) as told:
        open_storage("https://host", {"http": {"max_mb": 0, "allow_privat": True, "heed_robots_tag": "no"}})
    assert set(told.value.problems) == {
        "storage_options.http: there is no 'allow_privat' (did you mean 'allow_private'?); it takes max_mb, "
        "allow_private, heed_robots_tag",
        "storage_options.http.max_mb: 0 is not a number above 0",
        "storage_options.http.heed_robots_tag: 'no' is neither true nor false",
    }
    with pytest.raises(BadInput, match="storage_options.http: 5 is not a mapping"):
        open_storage("https://host", {"http": 5})
    open_storage("memory://host", {"http": {"max_mb": 1}})  # are no other driver's


def test_what_the_user_names_may_lie_inside_and_be_large(server: Web) -> None:
    server.files["manifest.csv"] = b"uri\n" * 10
    storage = open_storage(server.origin, {"http": {"max_mb": 0.00001}})
    assert storage.read(server.url("manifest.csv")) == b"uri\n" * 10
    with pytest.raises(PermissionError, match="private network"):
        storage.fetch(server.url("a.jpg"))


def test_fetches_of_many_threads_are_of_one_client() -> None:
    barrier = threading.Barrier(4)

    def client() -> WebClient:
        barrier.wait()
        return web.client_of(WebLimits(), 1.0)

    with ThreadPoolExecutor(4) as pool:
        assert len({id(each) for each in pool.map(lambda _: client(), range(4))}) == 1
