"""What every test shares: how far Hypothesis goes, and what a lacking part of the machine means."""

import os
import shutil
from collections.abc import Callable

import hypothesis
import pytest

# In CI nothing is skipped, and the examples of property tests are the same in each run.
TEST_ALL = os.environ.get("STRONGROOM_TEST_ALL") == "1"

hypothesis.settings.register_profile("development", deadline=None, max_examples=50)
hypothesis.settings.register_profile(
    "ci", deadline=None, max_examples=50, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile("ci" if TEST_ALL else "development")


def lacking(reason: str) -> None:
    """Skip the running test for a reason; with STRONGROOM_TEST_ALL=1, fail it instead."""
    if TEST_ALL:
        pytest.fail(f"STRONGROOM_TEST_ALL=1 allows no skip: {reason}")
    pytest.skip(reason)


@pytest.fixture
def requires() -> Callable[[str, str], str]:
    """Give `requires(program, package)`: the program's path, or the test ends as `lacking` says."""

    def require(program: str, package: str) -> str:
        path = shutil.which(program)
        if path is None:
            lacking(f"{program} is not installed (Debian package {package})")
        return path or ""

    return require


@pytest.fixture
def test_all() -> None:
    """Ask for STRONGROOM_TEST_ALL=1: for tests that are too slow for each run of a developer."""
    if not TEST_ALL:
        pytest.skip("only with STRONGROOM_TEST_ALL=1, as .ci/run sets it")
