"""A plan names every obstacle at once, and a release never goes back unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.site import Site, data_ports
from appliance.upgrade import plan as planning
from appliance.upgrade.bundle import ProgramFile, Release
from appliance.upgrade.installation import Installation, State
from appliance.version import RELEASE
from store.schema import SCHEMA
from store.vault import NoWrap
from tests.appliance.upgrade.trees import make_tree

MAP_BYTES = 1 << 26


def release(
    version: str = "0.2.0", counter: int = 2, schema: tuple[int, int] = (0, 1), size: int = 1
) -> Release:
    program = ProgramFile("strongroom", size, bytes(32), is_executable=True)
    return Release(version, counter, *schema, (program,))


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    make_tree(tmp_path / "opt" / "strongroom", "0.1.0")
    made = Installation(tmp_path / "opt" / "strongroom")
    with made.locked():
        made.adopt()
    return made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    ports = data_ports(tmp_path / "data", tmp_path / "keys", MAP_BYTES)
    Site.create(ports, NoWrap(), name="Office").close()
    return tmp_path / "data"


def planned(new: Release, installed: Installation, data: Path) -> planning.UpgradePlan:
    return planning.plan(new, installed, data, data / "snapshots", MAP_BYTES)


def codes(new: Release, installed: Installation, data: Path) -> list[str]:
    return [problem.code for problem in planned(new, installed, data).problems]


def test_a_newer_release_that_opens_the_store_has_nothing_in_its_way(
    installed: Installation, data: Path
) -> None:
    found = planned(release(), installed, data)
    assert found.problems == ()
    assert (found.version, found.new_version) == ("0.1.0", "0.2.0")
    assert found.schema == SCHEMA
    assert found.snapshot is not None
    assert found.snapshot.needed > 0
    assert not (data / "snapshots").exists()


def test_without_a_site_there_is_nothing_to_snapshot(
    installed: Installation, tmp_path: Path
) -> None:
    found = planned(release(schema=(90, 99)), installed, tmp_path / "nowhere")
    assert (found.problems, found.schema, found.snapshot) == ((), None, None)


@pytest.mark.parametrize("schema", [(SCHEMA + 1, 9), (0, SCHEMA - 1)])
def test_a_program_that_does_not_open_the_store_is_refused(
    installed: Installation, data: Path, schema: tuple[int, int]
) -> None:
    assert codes(release(schema=schema), installed, data) == ["upgrade.schema"]


def test_a_packages_directory_is_adopted_first(tmp_path: Path, data: Path) -> None:
    make_tree(tmp_path / "usr" / "strongroom", "0.1.0")
    installed = Installation(tmp_path / "usr" / "strongroom")
    assert codes(release(), installed, data) == ["upgrade.not_adopted"]


def test_the_version_in_use_is_not_installed_again(installed: Installation, data: Path) -> None:
    assert codes(release("0.1.0"), installed, data) == ["upgrade.same_version"]


def test_every_obstacle_is_told_at_once(installed: Installation, data: Path) -> None:
    installed.note(State(9))
    new = release(counter=8, schema=(7, 9), size=1 << 60)
    assert codes(new, installed, data) == [
        "upgrade.downgrade",
        "upgrade.schema",
        "upgrade.space",
        "upgrade.space",
    ]


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_release_is_newer_than_what_runs_and_no_older_than_what_was(
    counter: int, applied: int
) -> None:
    problems = planning._order(release(counter=counter), "0.1.0", State(applied))
    assert (not list(problems)) == (counter > RELEASE and counter >= applied)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.booleans())
def test_room_is_left_on_each_disk(one: int, two: int, free: int, is_one_disk: bool) -> None:
    spaces = (
        planning.Space("a", one, free, 1),
        planning.Space("b", two, free, 1 if is_one_disk else 2),
    )
    left = [free - one - two] * 2 if is_one_disk else [free - one, free - two]
    found = list(planning._space(None, *spaces))
    assert len(found) == sum(each < planning.MARGIN_BYTES for each in left)
