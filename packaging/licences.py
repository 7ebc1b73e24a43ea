"""Know the licence of everything that is shipped, and write them into one file with their texts."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

from contents import ContentsError, Source
from license_expression import get_spdx_licensing

FILE_NAME: Final = "LICENCES.txt"

ALLOWED: Final = frozenset(
    (
        "0BSD",
        "Apache-2.0",
        "BSD-3-Clause",
        "Bootloader-exception",
        "GCC-exception-3.1",
        "GPL-2.0-or-later",
        "GPL-3.0-or-later",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "OLDAP-2.8",
        "PSF-2.0",
        "Python-2.0",
        "Zlib",
        "bzip2-1.0.6",
    )
)
"""What may be shipped. The GPL is here for parts whose exception lets anything be linked to them:
GCC's support library and PyInstaller's bootloader."""

ONLY_WITH_EXCEPTION: Final = re.compile(r"GPL-[\d.]+-or-later(?! WITH )")

OF_SYSTEM: Final = {
    "cpython": "Python-2.0",
    "libbz2-1.0": "bzip2-1.0.6",
    "libexpat1": "MIT",
    "libffi8": "MIT",
    "libgcc-s1": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "liblzma5": "0BSD",
    "libssl3": "Apache-2.0",
    "libuuid1": "BSD-3-Clause",
    "zlib1g": "Zlib",
    "pyinstaller": "GPL-2.0-or-later WITH Bootloader-exception",
}
"""Licences of what says none in a form for machines: Python, the bootloader, Debian's libraries.
Debian's copyright files, whose texts are shipped, are what these were read from."""

OF_CLASSIFIER: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}

_TEXT_NAME: Final = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)


def expression(source: Source) -> str:
    """Return a source's licence as an SPDX expression.

    Raises:
        ContentsError: nobody has looked at it, or it is not one that we ship.
    """
    found = OF_SYSTEM.get(source.name) or _declared(source.distribution)
    if not found:
        raise ContentsError(f"the licence of {source.name} is not known: see licences.OF_SYSTEM")
    parsed = get_spdx_licensing().parse(found, validate=True)
    names = {part for key in parsed.objects for part in key.split(" WITH ")}
    if names - ALLOWED or ONLY_WITH_EXCEPTION.search(found):
        raise ContentsError(f"{source.name} is under {found}, which is not for us to ship")
    return found


def _declared(distribution: Distribution | None) -> str | None:
    """Return what a package's metadata say, best first: expression, classifiers, free text."""
    if distribution is None:
        return None
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classes = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or ()]
    known = [OF_CLASSIFIER[name] for name in classes if name in OF_CLASSIFIER]
    return " OR ".join(known) or next(iter(metadata.get_all("License") or ()), None)


def texts(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the licence texts of a source: a name and the text."""
    if source.distribution is not None:
        for file in source.distribution.files or ():
            is_own = any(part.endswith(".dist-info") for part in file.parts)
            if is_own and _TEXT_NAME.search(file.name):
                yield file.name, Path(str(file.locate())).read_text("utf-8", "replace")
    elif source.kind == "deb":
        path = Path("/usr/share/doc", source.name, "copyright")
        yield "copyright", path.read_text("utf-8", "replace")
    else:
        yield "LICENSE", _python_licence()


def _python_licence() -> str:
    """Return Python's own licence, from where Debian or Python's installation keeps it."""
    places = [Path(sysconfig.get_path("stdlib"), "LICENSE.txt")]
    places += Path("/usr/share/doc").glob("libpython3.*-stdlib/copyright")
    for place in places:
        if place.is_file():
            return place.read_text("utf-8", "replace")
    raise ContentsError("the licence text of Python is not on this machine")


def render(sources: list[Source]) -> str:
    """Return the file: a table of what is shipped under which licence, then every text once."""
    size = max(len(source.name) for source in sources)
    lines = [
        "Strongroom is under the Apache License 2.0. The built program contains:",
        "",
        *(f"{each.name:{size}}  {each.version:24}  {expression(each)}" for each in sources),
    ]
    for source in sources:
        for name, text in texts(source):
            lines += ["", "-" * 80, f"{source.name} {source.version}: {name}", "-" * 80, "", text]
    return "\n".join(lines) + "\n"
