"""Any override of the command line is taken or explained."""

from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.cli import commands
from tests.support.fuzzing import fuzz, little_memory

OVERRIDES = st.one_of(
    st.tuples(
        st.sampled_from(["output.uri", "output.storage_options", "+new", "~output", "format", "output", "+output.new"]),
        st.text(st.sampled_from("ab0.,:=[]{}()\"'\\ $~*?#!|-+\u00e9\n"), max_size=12),
    ).map("=".join),
    st.text(st.sampled_from("ab.=[]{}\"'$@:,+~ "), max_size=10),
)


def test_any_override_is_taken_or_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    codes: Counter[int] = Counter()

    @fuzz(40, 300)
    @given(st.sampled_from(["verify", "export"]), st.lists(OVERRIDES, min_size=1, max_size=2))
    def check(command: str, overrides: list[str]) -> None:
        told = StringIO()
        with redirect_stderr(told), redirect_stdout(StringIO()):
            code = commands.main([command, *overrides])
        assert "Traceback" not in told.getvalue(), told.getvalue()
        assert code == 0 or told.getvalue()
        codes[code] += 1

    with little_memory():
        check()
    assert codes[2] > 10, codes
    assert set(codes) <= {0, 2}, codes
