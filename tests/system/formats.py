"""Keep data as this program writes it, for later programs to be tested with.

    python -m tests.system.formats

plays a day of the demo organisation and writes ``tests/data/formats/N/site.tar.xz.b64``, where N
is the schema of the store. It is run once for each schema, when that is released, and never again:
data of a released format is not made anew. Nothing in it is secret; nobody ever used it.

    demo-data/ demo-keys/   the organisation, cleanly stopped; the store is a compact copy
    replica/                a key replica, in step
    backup/                 a backup from before the destruction
    certificate.txt ledger.txt site.key     what an auditor got
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import tarfile
import tempfile
import textwrap
from pathlib import Path
from typing import Final

from store.engine.lmdb import LmdbEngine
from store.schema import SCHEMA
from tests.system.cli_program import ROOT, Demo, Office, free_port

FORMATS: Final = ROOT / "tests" / "data" / "formats"
PACKED: Final = "site.tar.xz.b64"

KEPT: Final = {("alice", "bob"): "Bed 4 is free", ("bob", "alice"): "Bed 7 as well"}
"""Who said what to whom, and can still be read."""

DESTROYED: Final = "Hello from Ivan"
"""What ivan said to alice before he was erased."""

_LEFT_OUT: Final = frozenset({"lock.mdb", "writer.lock", "ballast", "run"})


def play(folder: Path) -> None:
    """Let the organisation live through its day in an empty folder."""
    demo = Demo(folder, free_port())
    office = Office(folder)
    for (sender, receiver), text in KEPT.items():
        office.ok("chat", "--as", sender, "--to", receiver, "--send", text)
    office.ok("duty", "create", "on-call", "--title", "On call", "--as", "grace")
    office.ok("duty", "assign", "on-call", "bob", "--as", "grace")
    urgent = ("--urgent", "--send", "Bed 12: potassium 6.1")
    office.ok("chat", "--as", "carol", "--to", "duty:on-call", *urgent)
    ivan = office.json("user", "create", "ivan", "--name", "Ivan", "--invite", "--as", "grace")
    join = ("--join", ivan["invitation"]["link"], "--to", "alice", "--send", DESTROYED)
    office.ok("chat", "--as", "ivan", *join)
    hold = ("--person", "bob", "--reason", "letter of the court")
    office.ok("hold", "place", "Case 7", *hold, "--as", "dave")
    office.ok("backup", "create", str(folder / "backup"))
    order = ("--person", "ivan", "--reason", "asked by the person", "--as", "dave")
    request = str(office.json("destroy", "request", *order)["request"])
    office.ok("destroy", "approve", request, "--yes", "--as", "erin")
    office.ok("destroy", "run", request, "--as", "dave")
    paper = {name: str(folder / name) for name in ("certificate.txt", "ledger.txt", "site.key")}
    office.ok("destroy", "certificate", "1", "-o", paper["certificate.txt"], "--as", "frank")
    office.ok("audit", "export", "-o", paper["ledger.txt"], "--as", "frank")
    office.ok("audit", "key", "-o", paper["site.key"])
    assert demo.stop() == 0, demo.log.read_text()
    office.ok("key-replica", "add", str(folder / "replica"), "--allow-same-device")
    settings = folder / "demo-data" / "strongroom.toml"
    settings.write_text(settings.read_text().replace(str(folder / "replica"), "../replica"))


def pack(folder: Path) -> str:
    """Return the folder as text: an archive without times and owners, compressed."""
    for store in ("demo-data/store", "replica/store"):
        _compact(folder / store)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:xz", preset=9) as tar:
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if not _LEFT_OUT & set(parts) and path.name != "server.log" and not path.is_socket():
                tar.add(path, arcname="/".join(parts), recursive=False, filter=_plain)
    return "\n".join(textwrap.wrap(base64.b64encode(archive.getvalue()).decode(), 100)) + "\n"


def unpack(number: str, folder: Path) -> None:
    """Write the data of a format into a folder."""
    packed = base64.b64decode((FORMATS / number / PACKED).read_text("ascii"))
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:xz") as tar:
        tar.extractall(folder, filter="data")
    for name in ("demo-data", "demo-keys", "replica"):
        (folder / name).chmod(0o700)


def _compact(store: Path) -> None:
    engine = LmdbEngine(store)
    engine.copy(store.with_name("compact"))
    engine.close()
    shutil.rmtree(store)
    store.with_name("compact").rename(store)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> int:
    """Write the data of this program's schema; return 1 when there is some already."""
    target = FORMATS / str(SCHEMA) / PACKED
    if target.exists():
        sys.stderr.write(f"{target} is there, and released data is not made anew\n")
        return 1
    with tempfile.TemporaryDirectory() as name:
        play(Path(name))
        text = pack(Path(name))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "ascii")
    sys.stdout.write(f"{target}: {len(text)} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
