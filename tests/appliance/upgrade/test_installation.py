"""Which version is in use changes in one step, and what is pinned stays pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.upgrade.bundle import BundleError, opened
from appliance.upgrade.installation import (
    BusyError,
    Installation,
    NoReleaseKeyError,
    PinnedError,
    Previous,
    State,
    UpgradeError,
    version_of,
)
from store.minisign import SignatureError
from tests.appliance.upgrade.trees import PUBLIC, make_bundle, make_tree, minisign


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    """A package's directory in the place of the program."""
    make_tree(tmp_path / "opt" / "strongroom", "0.1.0")
    return Installation(tmp_path / "opt" / "strongroom")


def install(installed: Installation, tmp_path: Path, version: str) -> None:
    make_bundle(tmp_path / version, make_tree(tmp_path / f"tree-{version}", version), version)
    place(installed, tmp_path / version)


def place(installed: Installation, path: Path) -> None:
    with installed.locked(), opened(path, PUBLIC) as bundle:
        installed.install(bundle)


def test_a_packages_directory_gives_way_to_a_link_and_stays_as_a_version(
    installed: Installation, tmp_path: Path
) -> None:
    before = (installed.program / "strongroom").stat().st_ino
    with installed.locked():
        installed.adopt()
        installed.adopt()
    assert installed.program.is_symlink()
    assert installed.program.resolve() == installed.directory("0.1.0")
    assert (installed.program / "strongroom").stat().st_ino == before
    install(installed, tmp_path, "0.2.0")
    assert installed.current() == "0.1.0"
    installed.switch("0.2.0")
    assert installed.current() == "0.2.0"
    assert version_of(installed.directory("0.1.0")) == "0.1.0"
    installed.switch("0.1.0")
    assert installed.current() == "0.1.0"


def test_a_packages_directory_is_never_switched_away(
    installed: Installation, tmp_path: Path
) -> None:
    install(installed, tmp_path, "0.2.0")
    with pytest.raises(UpgradeError, match="not a link"):
        installed.switch("0.2.0")
    assert installed.current() == "0.1.0"


def test_a_version_that_is_there_is_not_covered_by_a_package(
    installed: Installation, tmp_path: Path
) -> None:
    install(installed, tmp_path, "0.1.0")
    with pytest.raises(UpgradeError, match="exists"):
        installed.adopt()


def test_the_tree_can_be_moved_as_a_whole(installed: Installation, tmp_path: Path) -> None:
    install(installed, tmp_path, "0.2.0")
    installed.adopt()
    installed.switch("0.2.0")
    (tmp_path / "opt").rename(tmp_path / "elsewhere")
    assert Installation(tmp_path / "elsewhere" / "strongroom").current() == "0.2.0"


def test_a_program_that_does_not_start_is_not_installed(
    installed: Installation, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "tree", "0.2.0")
    (tree / "strongroom").write_text("#!/nowhere\n")
    make_bundle(tmp_path / "bundle", tree, "0.2.0")
    with pytest.raises(UpgradeError, match="does not start"):
        place(installed, tmp_path / "bundle")
    assert {path.name for path in installed.versions.iterdir()} == {"lock"}


def test_a_program_that_says_another_version_is_not_installed(
    installed: Installation, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "bundle", make_tree(tmp_path / "tree", "0.3.0"), "0.2.0")
    with pytest.raises(UpgradeError, match="another version"):
        place(installed, tmp_path / "bundle")


def test_nothing_stays_of_a_damaged_bundle(installed: Installation, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", make_tree(tmp_path / "tree", "0.2.0"), "0.2.0")
    (tmp_path / "bundle").write_bytes((tmp_path / "bundle").read_bytes()[:-1])
    with pytest.raises(BundleError):
        place(installed, tmp_path / "bundle")
    assert {path.name for path in installed.versions.iterdir()} == {"lock"}


def test_a_key_is_pinned_once(installed: Installation) -> None:
    with pytest.raises(NoReleaseKeyError):
        installed.key()
    with pytest.raises(SignatureError):
        installed.trust("no key")
    assert installed.trust(PUBLIC.text()) == installed.key() == PUBLIC
    assert installed.trust(PUBLIC.text()) == PUBLIC
    with pytest.raises(PinnedError):
        installed.trust(minisign.generate().public.text())
    assert installed.key() == PUBLIC


def test_the_state_is_kept_and_a_damaged_one_is_told(installed: Installation) -> None:
    assert installed.state() == State()
    state = State(7, Previous("0.1.0", "/snapshot", 1))
    installed.note(state)
    assert installed.state() == state
    (installed.versions / "state").write_text("{")
    with pytest.raises(UpgradeError, match="damaged"):
        installed.state()


def test_what_was_noted_is_as_before_when_switching_fails(installed: Installation) -> None:
    installed.versions.mkdir()
    installed.note(State(3))
    with pytest.raises(UpgradeError):
        installed.change("0.2.0", State(4, Previous("0.1.0", "", 1)))
    assert installed.state() == State(3)


def test_there_is_one_upgrade_at_a_time(installed: Installation) -> None:
    with installed.locked(), pytest.raises(BusyError), Installation(installed.program).locked():
        pass
    with installed.locked():
        pass


def test_only_versions_that_are_wanted_stay(installed: Installation, tmp_path: Path) -> None:
    with installed.locked():
        installed.adopt()
    for version in ("0.2.0", "0.3.0"):
        install(installed, tmp_path, version)
        installed.switch(version)
    installed.prune({"0.2.0", "0.3.0"})
    assert {path.name for path in installed.versions.iterdir()} == {"lock", "0.2.0", "0.3.0"}


def test_without_a_program_there_is_nothing_to_upgrade(tmp_path: Path) -> None:
    with pytest.raises(UpgradeError, match="no program"):
        Installation(tmp_path / "strongroom").current()
