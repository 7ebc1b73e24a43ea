"""Make an upgrade bundle of a built program and sign it with the release key.

    python packaging/bundle.py dist/strongroom --key strongroom-release.key

writes strongroom-VERSION.bundle; the version is what the program says, the release counter and
the schema range are those of this checkout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minisign import read_secret, sign

from appliance.upgrade.bundle import describe, write
from appliance.upgrade.installation import version_of
from appliance.version import RELEASE
from store.schema import SCHEMA


def main() -> int:
    """Write the bundle and say where it is; return 0."""
    parser = argparse.ArgumentParser(description="Make and sign an upgrade bundle.")
    parser.add_argument("tree", type=Path, help="the built program's directory")
    parser.add_argument("--key", type=Path, required=True, help="secret release key")
    parser.add_argument("--release", type=int, default=RELEASE, help="release counter")
    parser.add_argument("--schema", type=int, default=SCHEMA, help="newest schema it opens")
    parser.add_argument("-o", "--output", type=Path, help="file to write")
    arguments = parser.parse_args()
    secret = read_secret(arguments.key.read_text("utf-8"))
    version = version_of(arguments.tree)
    release = describe(
        arguments.tree,
        version=version,
        counter=arguments.release,
        oldest_schema=0,
        newest_schema=arguments.schema,
    )
    target = arguments.output or Path(f"strongroom-{version}.bundle")
    comment = f"strongroom {version} release {arguments.release}"
    write(release, arguments.tree, target, lambda data: sign(secret, data, comment))
    print(f"{target}: {len(release.files)} files, {release.bytes} bytes, {comment}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
