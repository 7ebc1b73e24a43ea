"""A backup holds one commit of the store and no key; whatever is changed in it is found."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import backup, destruction
from store.backup import (
    BackupExistsError,
    BackupFile,
    BackupPlaceError,
    Manifest,
    NoBackupError,
    is_signed,
    read_manifest,
    sign_manifest,
)
from store.engine.lmdb import LmdbEngine
from store.engine.txn import Txn
from store.errors import EngineError, EngineFullError, FormatError
from store.tables import LEDGER, LOG, SEGMENT, Layout
from tests.store.logbox import SITE_KEY, Box, message, privileged, sign

NOW_MS = 1_790_000_000_000
KEY = bytes(SITE_KEY.verify_key)
CANARY = b"\x91\xd9\x24e3b0c442-98fc-1c14-9afb-f4c8996fb924"


class DiskBox(Box):
    """A site whose store is a real file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.engine = LmdbEngine(path / "data", map_bytes=64 << 20)  # type: ignore[assignment]
        self.token = self.engine.acquire()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[DiskBox]:
    made = DiskBox(tmp_path)
    made.create()
    made.append(privileged(), *(message(number % 5, CANARY) for number in range(40)))
    yield made
    made.engine.close()


def make(box: DiskBox, name: str = "backup", **changes: object) -> Manifest:
    arguments: dict[str, object] = {
        "sign": sign,
        "created_ms": NOW_MS,
        "program": "1.2.3",
        "apart_from": [box.path / "data", box.path / "keys"],
        "settings": b"[site]\n",
    }
    return backup.create(box.engine, box.path / name, **(arguments | changes))  # type: ignore[arg-type]


def problems(box: DiskBox, name: str = "backup", key: bytes | None = KEY) -> tuple[str, ...]:
    return backup.verify(box.path / name, key=key).problems


def test_a_backup_says_where_the_site_was(box: DiskBox) -> None:
    manifest = make(box)
    head = box.log.head
    assert manifest.node == box.log.node
    assert manifest.verify_key == KEY
    assert (manifest.incarnation, manifest.seq, manifest.chain, manifest.pos) == head[1:]
    assert (manifest.generation, manifest.created_ms, manifest.program) == (1, NOW_MS, "1.2.3")
    assert (manifest.ledger_size, manifest.ledger_root) == (
        box.log.ledger.size,
        box.log.ledger.root(),
    )
    assert [file.name for file in manifest.files] == ["store/data.mdb", "strongroom.toml"]


def test_a_backup_is_good_and_private(box: DiskBox) -> None:
    manifest = make(box)
    found = backup.verify(box.path / "backup", key=KEY)
    assert (found.manifest, found.problems, found.is_good, found.is_pinned) == (
        manifest,
        (),
        True,
        True,
    )
    for path in (box.path / "backup", *(box.path / "backup").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert not (box.path / "backup.partial").exists()


def test_verifying_writes_nothing(box: DiskBox) -> None:
    make(box)
    before = sorted((box.path / "backup").rglob("*"))
    backup.verify(box.path / "backup")
    assert sorted((box.path / "backup").rglob("*")) == before


def test_without_the_key_given_a_backup_is_not_pinned(box: DiskBox) -> None:
    make(box)
    found = backup.verify(box.path / "backup")
    assert found.is_good
    assert not found.is_pinned
    (problem,) = problems(box, key=b"k" * 32)
    assert "another key" in problem


def test_a_backup_holds_neither_a_root_nor_content_nor_what_was_destroyed(box: DiskBox) -> None:
    (doomed,) = box.append(message(3, CANARY))
    row = LOG.key(doomed.origin, doomed.id.seq)
    with closing(box.engine.snapshot()) as reader:
        sealed = (reader.get(row) or b"")[158:]
        txn = Txn(reader)
        destruction.destroy(txn, doomed)
        box.engine.batch(txn.writes, box.token)
    root = box.vault._root()
    make(box)
    everything = b"".join(
        path.read_bytes() for path in (box.path / "backup").rglob("*") if path.is_file()
    )
    for secret in (root, b"STRGROOT", CANARY[4:], sealed):
        assert secret not in everything
    assert sealed in (box.path / "data" / "data.mdb").read_bytes()


def test_writing_goes_on_after_the_copy(box: DiskBox) -> None:
    manifest = make(box)
    box.append(message(1))
    assert box.log.head.seq == manifest.seq + 1
    assert problems(box) == ()


def test_a_second_backup_does_not_replace_the_first(box: DiskBox) -> None:
    make(box)
    before = (box.path / "backup" / "manifest").read_bytes()
    with pytest.raises(BackupExistsError):
        make(box)
    (box.path / "other.partial").mkdir()
    with pytest.raises(BackupExistsError):
        make(box, "other")
    (box.path / "link").symlink_to(box.path / "nowhere")
    with pytest.raises(BackupExistsError):
        make(box, "link")
    assert (box.path / "backup" / "manifest").read_bytes() == before


@pytest.mark.parametrize("place", ["data/backup", "keys/deep/backup", "link/backup"])
def test_a_backup_never_lies_in_what_it_is_for(box: DiskBox, place: str) -> None:
    (box.path / "keys" / "deep").mkdir(parents=True)
    (box.path / "link").symlink_to(box.path / "data")
    with pytest.raises(BackupPlaceError):
        make(box, place)


def test_a_backup_that_fails_leaves_nothing(box: DiskBox) -> None:
    def fail(_message: bytes) -> bytes:
        raise EngineFullError("no room")

    with pytest.raises(EngineFullError):
        make(box, sign=fail)
    with pytest.raises(EngineError):
        make(box, "no/such/parent")
    assert sorted(path.name for path in box.path.iterdir()) == ["data"]


def test_progress_is_what_has_been_copied(box: DiskBox) -> None:
    assert backup.copied_bytes(box.path / "backup") == 0
    partial = box.path / "backup.partial" / "store"
    partial.mkdir(parents=True)
    (partial / "data.mdb").write_bytes(bytes(5))
    assert backup.copied_bytes(box.path / "backup") == 5


# --- tampering ------------------------------------------------------------------------------------


def test_no_backup_is_told_from_a_damaged_one(box: DiskBox) -> None:
    (box.path / "empty").mkdir()
    with pytest.raises(NoBackupError):
        problems(box, "empty")
    (box.path / "empty" / "manifest").write_bytes(b"\xff\n")
    assert len(problems(box, "empty")) == 1
    (box.path / "other" / "manifest").mkdir(parents=True)
    with pytest.raises(EngineError):
        problems(box, "other")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_flipped_bit_is_found(box: DiskBox, data: st.DataObject) -> None:
    if not (box.path / "backup").exists():
        make(box)
    name = data.draw(st.sampled_from(["manifest", "store/data.mdb", "strongroom.toml"]))
    path = box.path / "backup" / name
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    path.write_bytes(content[:at] + bytes((content[at] ^ 1 << bit,)) + content[at + 1 :])
    assert problems(box)
    path.write_bytes(content)
    assert not problems(box)


@pytest.mark.parametrize("surplus", ["root.0", "store/lock.mdb", "extra/file"])
def test_a_file_too_many_is_found(box: DiskBox, surplus: str) -> None:
    make(box)
    path = box.path / "backup" / surplus
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert problems(box) == (f"{surplus} does not belong to the backup",)


@pytest.mark.parametrize("name", ["store/data.mdb", "strongroom.toml"])
def test_a_file_too_few_or_elsewhere_is_found(box: DiskBox, name: str) -> None:
    make(box)
    path = box.path / "backup" / name
    path.rename(box.path / "away")
    assert problems(box) == (f"{name} is missing",)
    path.symlink_to(box.path / "away")
    assert problems(box) == (f"{name} is missing",)


def resigned(box: DiskBox) -> None:
    """Sign the backup again as it is now, as whoever has the site's key can."""
    path = box.path / "backup"
    manifest, _ = read_manifest((path / "manifest").read_bytes())
    files = [backup._measure(path, file.name) for file in manifest.files]
    with backup.still_store(path) as reader:
        made = backup.describe(reader, files, created_ms=NOW_MS, program="1.2.3")
    (path / "manifest").write_bytes(sign_manifest(made, sign))


@pytest.mark.parametrize("layout", [LOG, SEGMENT, LEDGER])
def test_a_store_that_contradicts_itself_is_found_without_any_key(
    box: DiskBox, layout: Layout
) -> None:
    box.clock.advance(61_000)
    box.append(message(1))
    box.append(message(2))
    make(box)
    engine = LmdbEngine(box.path / "backup" / "store", map_bytes=64 << 20)
    with closing(engine.snapshot()) as reader:
        key, value = next(iter(reader.range(*layout.span())))
    engine.batch({key: value[:20] + bytes((value[20] ^ 1,)) + value[21:]}, engine.acquire())
    engine.close()
    for name in ("lock.mdb", "writer.lock"):
        os.unlink(box.path / "backup" / "store" / name)
    assert any("not what was backed up" in problem for problem in problems(box))
    resigned(box)
    assert any(problem.startswith("operation ") for problem in problems(box))


def test_a_manifest_of_another_store_is_found(box: DiskBox) -> None:
    make(box)
    path = box.path / "backup" / "manifest"
    manifest, _ = read_manifest(path.read_bytes())
    for change in ({"seq": 1}, {"generation": 9}, {"ledger_size": 0}, {"node": b"n" * 16}):
        changed = Manifest(
            **{name: getattr(manifest, name) for name in Manifest.__slots__} | change
        )
        path.write_bytes(sign_manifest(changed, sign))
        (problem,) = problems(box)
        assert problem == f"the store's {next(iter(change))} is not that of the manifest"


def test_a_backup_of_a_newer_program_is_left_alone(box: DiskBox) -> None:
    make(box)
    path = box.path / "backup" / "manifest"
    manifest, _ = read_manifest(path.read_bytes())
    fields = {name: getattr(manifest, name) for name in Manifest.__slots__}
    path.write_bytes(sign_manifest(Manifest(**fields | {"schema": 2}), sign))
    (problem,) = problems(box)
    assert "schema 2" in problem


# --- the manifest ---------------------------------------------------------------------------------

HASHES = st.binary(min_size=32, max_size=32)
U64 = st.integers(0, 2**64 - 1)
MANIFESTS = st.builds(
    Manifest,
    st.binary(min_size=16, max_size=16),
    HASHES,
    U64,
    U64,
    HASHES,
    U64,
    U64,
    U64,
    HASHES,
    U64,
    st.from_regex(r"[!-~]{1,64}", fullmatch=True),
    U64,
    st.lists(
        st.builds(BackupFile, st.from_regex(r"[a-z./]{1,32}", fullmatch=True), U64, HASHES),
        min_size=1,
        max_size=8,
    ).map(tuple),
)


@given(manifest=MANIFESTS)
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    written = sign_manifest(manifest, sign)
    read, signature = read_manifest(written)
    assert read == manifest
    assert sign_manifest(read, lambda _: signature) == written


@given(manifest=MANIFESTS, other=MANIFESTS)
def test_a_signature_is_of_one_manifest(manifest: Manifest, other: Manifest) -> None:
    signed = Manifest(
        **{name: getattr(manifest, name) for name in Manifest.__slots__} | {"verify_key": KEY}
    )
    _, signature = read_manifest(sign_manifest(signed, sign))
    assert is_signed(signed, signature)
    assert not is_signed(other, signature)
    assert not is_signed(manifest, signature) or manifest == signed


@given(data=st.binary(max_size=400))
def test_anything_else_is_no_manifest(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_manifest(data)
