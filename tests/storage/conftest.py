"""Object stores to test against: S3 always, the others where their drivers and emulators are installed."""

from collections.abc import Iterator

import pytest

from tests.support import emulators
from tests.support.emulators import Cloud
from tests.support.faulty_s3 import FaultyS3
from tests.support.s3 import S3

Store = S3 | Cloud
STORE_KINDS = ["s3", *(kind for kind in emulators.KINDS if emulators.missing(kind) is None)]


@pytest.fixture(scope="session")
def gcs() -> Iterator[Cloud]:
    with emulators.running("gcs") as cloud:
        yield cloud


@pytest.fixture(scope="session")
def azure() -> Iterator[Cloud]:
    with emulators.running("azure") as cloud:
        yield cloud


@pytest.fixture
def store_kind(request: pytest.FixtureRequest) -> str:
    """s3, or what a test names for it indirectly."""
    kind: str = getattr(request, "param", "s3")
    return kind


@pytest.fixture
def store(store_kind: str, request: pytest.FixtureRequest) -> Store:
    """A store that can be made to fail."""
    if store_kind == "s3":
        return S3(request.getfixturevalue("failing_server"))
    cloud: Cloud = request.getfixturevalue(store_kind)
    return cloud


@pytest.fixture
def faulty(store: Store) -> Iterator[FaultyS3]:
    """What makes the store fail; without any fault before and after."""
    server = FaultyS3(store.endpoint_url)
    server.clear()
    yield server
    server.clear()
