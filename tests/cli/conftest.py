"""What several tests of the command line use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.recorded import Recorded, make_profiles


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Recorded]:
    """A server of recorded answers, in whose data directory dave, erin and frank have keys."""
    data = tmp_path / "data"
    data.mkdir()
    make_profiles(data)
    made = Recorded(data)
    yield made
    made.close()
