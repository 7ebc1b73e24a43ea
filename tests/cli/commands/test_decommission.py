"""What proves the end of a site is written before its keys go, and only for who means it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.disposal.replies import Ended
from tests.cli.recorded import Recorded

NAME = "St. Mary's Hospital"
PAGES = (
    {"lines": ["first", "second"], "after": "2"},
    {"lines": ["last"], "after": ""},
)


@pytest.fixture
def ready(server: Recorded) -> Recorded:
    """A server on which two officers have agreed."""
    server.will_answer("status", {"name": NAME})
    server.will_answer("audit.key", {"key": "ab" * 32, "node": "01" * 16})
    server.will_answer("decommission.run", Ended(4, "the certificate\n"))
    server.will_answer("decommission.ledger", *PAGES)
    server.will_answer("decommission.finish", {"note": "the closing note\n"})
    return server


def command(output: Path, *more: str) -> tuple[str, ...]:
    return ("decommission", "run", "9", "-o", str(output), "--as", "dave", *more)


def test_it_takes_the_name_and_leaves_four_files(ready: Recorded, tmp_path: Path) -> None:
    output = tmp_path / "end.txt"
    told = ready.ok(*command(output, "--yes-destroy-everything", NAME))
    assert "its keys are destroyed" in told
    found = {path.name: path.read_text() for path in tmp_path.glob("end.txt*")}
    assert found == {
        "end.txt": "the certificate\n",
        "end.txt.ledger": "first\nsecond\nlast\n",
        "end.txt.key": "ab" * 32 + "\n",
        "end.txt.closing": "the closing note\n",
    }
    (signed,) = ready.signed()
    assert (signed.command, signed.arguments) == ("decommission.run", {"request": 9})
    assert ready.asked[-1].command == "decommission.finish"


@pytest.mark.parametrize("given", [(), ("--yes-destroy-everything", NAME.lower())])
def test_without_the_right_name_nothing_is_asked_for(
    ready: Recorded, tmp_path: Path, given: tuple[str, ...]
) -> None:
    assert ready.run(*command(tmp_path / "end.txt", *given)).exit_code == 2
    assert [each.command for each in ready.asked] == ["status"]
    assert not list(tmp_path.glob("end.txt*"))


@pytest.mark.parametrize("output", ["-", "absent/end.txt"])
def test_what_it_proves_must_have_a_place(ready: Recorded, tmp_path: Path, output: str) -> None:
    place = Path(output) if output == "-" else tmp_path / output
    done = ready.run(*command(place, "--yes-destroy-everything", NAME))
    assert done.exit_code == 2
    assert ready.asked == []


def test_the_certificate_is_there_before_the_keys_go(ready: Recorded, tmp_path: Path) -> None:
    ready.will_refuse("decommission.finish", "decommission.replica")
    output = tmp_path / "end.txt"
    done = ready.run(*command(output, "--yes-destroy-everything", NAME))
    assert done.exit_code == 6
    assert "Say the same command again" in done.stderr
    names = {path.name for path in tmp_path.glob("end.txt*")}
    assert names == {"end.txt", "end.txt.ledger", "end.txt.key"}
