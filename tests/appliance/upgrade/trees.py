"""Program directories for upgrades: this checkout's program, saying that it is another version."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.upgrade.bundle import Bundle, Release, describe, opened, write
from store.minisign import PublicKey
from tests.packaging.scripts import script

minisign = script("minisign")
SECRET = minisign.generate()
PUBLIC: PublicKey = SECRET.public

LAUNCHER = """\
#!{python}
import sys
sys.path.insert(0, {root!r})
import appliance.version
from store import schema
from msgspec.structs import replace
origin = replace(appliance.version.origin(), version={version!r})
appliance.version.origin = lambda: origin
appliance.version.program_version = lambda: origin.version
appliance.version.RELEASE = {release}
for number in range({steps}):
    schema.STEPS += (schema.Step(f"step {{number}}", lambda txn: txn.put({row!r}, b"new")),)
schema.SCHEMA = len(schema.STEPS)
schema.bring_up_store.__defaults__ = (schema.STEPS,)
schema.bring_up.__defaults__ = (schema.STEPS,)
schema.expect_known.__defaults__ = (schema.SCHEMA,)
from cli.main import main
main()
"""
NEW_ROW = b"\x0fnew"
"""What a newer version's step writes, where no table of this one is."""

ROOT = Path(__file__).resolve().parents[3]


def make_tree(path: Path, version: str, *, release: int = 1, steps: int = 0) -> Path:
    """Make the directory of a program that starts, with ``steps`` more versions of the store."""
    path.mkdir(parents=True)
    program = path / "strongroom"
    program.write_text(
        LAUNCHER.format(
            python=sys.executable,
            root=str(ROOT),
            version=version,
            release=release,
            steps=steps,
            row=NEW_ROW,
        )
    )
    program.chmod(0o755)
    (path / "_internal").mkdir()
    (path / "_internal" / "library.so").write_bytes(version.encode() * 1000)
    return path


def make_bundle(
    path: Path, tree: Path, version: str, *, counter: int = 2, schema: tuple[int, int] = (0, 1)
) -> Release:
    """Write a bundle of a tree, signed with ``SECRET``."""
    release = describe(
        tree, version=version, counter=counter, oldest_schema=schema[0], newest_schema=schema[1]
    )
    write(release, tree, path, lambda data: str(minisign.sign(SECRET, data, version)))
    return release


def unpack(path: Path, target: Path, public: PublicKey = PUBLIC) -> Release:
    """Open a bundle, unpack it and return its release."""
    with opened(path, public) as bundle:
        assert isinstance(bundle, Bundle)
        bundle.unpack(target)
        return bundle.release
