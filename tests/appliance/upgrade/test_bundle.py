"""A bundle gives back the program as it was signed, or nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.upgrade.bundle import (
    BundleError,
    ProgramFile,
    Release,
    describe,
    opened,
    read_release,
    write,
)
from store.errors import EngineError
from store.minisign import SignatureError
from tests.appliance.upgrade.trees import PUBLIC, SECRET, make_bundle, make_tree, minisign, unpack

PROGRAM = ProgramFile("strongroom", 3, hashlib.sha256(b"run").digest(), is_executable=True)

parts = st.text("abcXYZ019._+@-", min_size=1, max_size=12).filter(lambda part: part.strip("."))
names = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda n: n != "strongroom")
files = st.builds(
    ProgramFile, names, st.integers(0, 1 << 40), st.binary(min_size=32, max_size=32), st.booleans()
)
releases = st.builds(
    Release,
    st.from_regex(r"[0-9A-Za-z][0-9A-Za-z.+~-]{0,20}", fullmatch=True),
    st.integers(0, 10**15),
    st.integers(0, 99),
    st.integers(0, 99),
    st.lists(files, max_size=5, unique_by=lambda file: file.name).map(
        lambda some: tuple(sorted([PROGRAM, *some], key=lambda file: file.name))
    ),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle", make_tree(tmp_path / "tree", "0.2.0"), "0.2.0")
    return tmp_path / "bundle"


@given(releases)
def test_a_manifest_is_read_as_it_is_written(release: Release) -> None:
    assert read_release(release.text().encode("ascii")) == release


@given(releases, st.integers(0), st.binary(min_size=1, max_size=3))
def test_any_manifest_is_read_exactly_or_refused(release: Release, place: int, junk: bytes) -> None:
    data = release.text().encode("ascii")
    place %= len(data)
    changed = data[:place] + junk + data[place + len(junk) :]
    try:
        found = read_release(changed)
    except BundleError:
        return
    assert found.text().encode("ascii") == changed


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a//b", "a/../b", "a/./b", ".", "..", "a/", "", "a b", "a\\b", "ä"]
)
def test_no_name_leads_out_of_the_program(name: str) -> None:
    release = Release("1", 1, 0, 1, (ProgramFile(name, 1, bytes(32), is_executable=False), PROGRAM))
    with pytest.raises(BundleError):
        read_release(release.text().encode("utf-8"))


@pytest.mark.parametrize(
    "some",
    [
        (),
        (ProgramFile("strongroom", 3, bytes(32), is_executable=False),),
        (PROGRAM, PROGRAM),
        (PROGRAM, ProgramFile("a", 1, bytes(32), is_executable=False)),
    ],
    ids=["none", "cannot be run", "twice", "not in order"],
)
def test_a_bundle_without_a_program_or_order_is_refused(some: tuple[ProgramFile, ...]) -> None:
    with pytest.raises(BundleError):
        read_release(Release("1", 1, 0, 1, some).text().encode("ascii"))


def test_the_program_comes_out_as_it_went_in(bundle: Path, tmp_path: Path) -> None:
    release = unpack(bundle, tmp_path / "out")
    before, after = tmp_path / "tree", tmp_path / "out"
    found = {path.relative_to(after) for path in after.rglob("*")}
    assert found == {path.relative_to(before) for path in before.rglob("*")}
    for file in release.files:
        assert (after / file.name).read_bytes() == (before / file.name).read_bytes()
        assert (after / file.name).stat().st_mode & 0o777 == (
            0o755 if file.is_executable else 0o644
        )
    assert describe(after, version="0.2.0", counter=2, oldest_schema=0, newest_schema=1) == release


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0), st.integers(1, 255))
def test_no_changed_byte_gets_through(bundle: Path, place: int, flip: int) -> None:
    data = bytearray(bundle.read_bytes())
    untrusted = data.index(b"untrusted comment")
    place %= len(data)
    if untrusted <= place < data.index(b"\n", untrusted):
        return  # the one line that nobody signs
    data[place] ^= flip
    changed = bundle.with_name("changed")
    changed.write_bytes(data)
    with pytest.raises((BundleError, SignatureError)), opened(changed, PUBLIC) as found:
        found.check()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.integers(0), st.binary(min_size=1, max_size=9))
def test_a_bundle_that_is_cut_or_goes_on_is_refused(bundle: Path, length: int, more: bytes) -> None:
    data = bundle.read_bytes()
    for number, wrong in enumerate((data[: length % len(data)], data + more)):
        changed = bundle.with_name(f"changed{number}")
        changed.write_bytes(wrong)
        with pytest.raises((BundleError, SignatureError)), opened(changed, PUBLIC) as found:
            found.check()


def test_nothing_is_believed_that_another_key_signed(bundle: Path) -> None:
    other = minisign.generate().public
    with pytest.raises(SignatureError), opened(bundle, other):
        pass


def test_a_directory_that_exists_is_not_written_into(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(EngineError):
        unpack(bundle, tmp_path / "out")


def test_a_tree_with_a_link_is_not_bundled(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", "1")
    (tree / "link").symlink_to("strongroom")
    with pytest.raises(BundleError, match="neither"):
        describe(tree, version="1", counter=1, oldest_schema=0, newest_schema=1)


def test_a_tree_that_changes_while_it_is_bundled_is_found(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", "1")
    release = describe(tree, version="1", counter=1, oldest_schema=0, newest_schema=1)
    (tree / "_internal" / "library.so").write_bytes(b"1" * 1000)
    (tree / "_internal" / "library.so").write_bytes(b"2" * 1000)
    write(release, tree, tmp_path / "b", lambda data: str(minisign.sign(SECRET, data, "")))
    with pytest.raises(BundleError, match=r"library\.so"), opened(tmp_path / "b", PUBLIC) as found:
        found.check()
