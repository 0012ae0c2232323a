"""The bound on memory holds."""

import pytest

from tests.support.fuzzing import MOST_MEMORY_MB, little_memory


def test_little_memory_notices_a_bomb() -> None:
    with pytest.raises(AssertionError, match="MB"), little_memory():
        assert b"x" * int(MOST_MEMORY_MB * 1.2e6)
