"""Options and data that all tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# models here are tiny: threads only cost; set before torch is loaded, and for the processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")
# installations of tests live for seconds: what one of them has compiled serves the others, and the next run
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "nanochat-tests-compiled"))

import pytest

REPOSITORY = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files; read the diff")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data and reference numbers, `NANOCHAT_TEST_DATA` or `../shared`; else the test is skipped."""
    folder = Path(os.environ.get("NANOCHAT_TEST_DATA") or REPOSITORY.parent / "shared")
    if folder.is_dir():
        return folder
    reason = f"no test data in {folder}; set NANOCHAT_TEST_DATA"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
