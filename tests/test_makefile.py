"""`make demo` on a fresh machine: what is said while pip is at work."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/sh
mkdir -p .venv/bin
cat > .venv/bin/python <<'PIP'
#!/bin/sh
case "$*" in *requirements.lock*)
echo "Collecting torch"
echo "  Downloading torch-2.14.1.whl.metadata (31 kB)"
echo "  Downloading torch-2.14.1.whl (554.6 MB)"
echo "Installing collected packages: numpy, torch"
exit STATUS
esac
PIP
chmod +x .venv/bin/python
"""


def set_up(folder: Path, *, pip_status: int) -> subprocess.CompletedProcess[str]:
    """Make the environment with an interpreter whose pip says a few lines and does nothing."""
    python = folder / "python"
    python.write_text(PYTHON.replace("STATUS", str(pip_status)))
    python.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    command = ["make", "--silent", ".venv/ready", f"PYTHON={python}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_how_much_pip_fetches_is_said_before_and_what_while(tmp_path: Path) -> None:
    made = set_up(tmp_path, pip_status=0)
    assert made.returncode == 0, made.stderr
    before, size, after = made.stdout.partition("Downloading torch-2.14.1.whl (554.6 MB)")
    assert "3.6 GB to download" in before
    assert "silent" in before
    assert size
    assert "Unpacking" in after
    assert "metadata" not in made.stdout
    assert (tmp_path / ".venv" / "ready").is_file()


@pytest.mark.parametrize("status", [1, 2])
def test_an_environment_that_pip_did_not_finish_is_not_ready(status: int, tmp_path: Path) -> None:
    assert set_up(tmp_path, pip_status=status).returncode != 0
    assert not (tmp_path / ".venv" / "ready").exists()
