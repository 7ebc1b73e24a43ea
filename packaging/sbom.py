"""Write the bill of materials (CycloneDX 1.6, JSON): what is shipped, from where, with hashes.

component                 identity                  hashes
packages from PyPI        pkg:pypi, as locked       of the wheels that the lock accepts
Debian's libraries        pkg:deb                   of the files shipped
Python                    pkg:generic               of the files shipped
within a package          as its own bill says      of its own bill (PEP 770)

Two builds of one commit give the same bytes: date and serial number come from the commit.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from contents import ROOT, Source, normal, read_lock
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from licences import expression
from packageurl import PackageURL
from packaging.requirements import Requirement

from appliance.version import Origin

FILE_NAME: Final = "sbom.cdx.json"
LOCKS: Final = ("runtime.txt", "dev.txt")
HASH: Final = "SHA-256"


def render(sources: list[Source], origin: Origin) -> str:
    """Return the bill of a build as JSON."""
    locked = {
        name: pin for lock in LOCKS for name, pin in read_lock(ROOT / "requirements" / lock).items()
    }
    wheels = {name: pin.sha256 for name, pin in locked.items()}
    parts = {source.name: _component(source, wheels.get(source.name, ())) for source in sources}
    own = Component(
        name="strongroom",
        version=origin.version,
        type=ComponentType.APPLICATION,
        bom_ref=f"strongroom@{origin.version}",
        licenses=[LicenseExpression("Apache-2.0")],
        properties=[Property(name="strongroom:commit", value=origin.commit or "unknown")],
    )
    identity = f"strongroom/{origin.version}/{origin.commit}"
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, identity), components=parts.values())
    bom.metadata.timestamp = datetime.fromtimestamp(origin.made_at, UTC)
    bom.metadata.component = own
    bom.register_dependency(own, [parts[name] for name in origin.libraries if name in parts])
    for source in sources:
        bom.register_dependency(parts[source.name], [parts[name] for name in _needs(source, parts)])
    document = JsonV1Dot6(bom).output_as_string(indent=1)
    return document + "\n"


def _needs(source: Source, parts: Iterable[str]) -> list[str]:
    """List which of the parts a package asks for."""
    lines = (source.distribution.requires if source.distribution else None) or ()
    wanted = [Requirement(line) for line in lines]
    here = [each for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})]
    return sorted({normal(each.name) for each in here}.intersection(parts))


def _component(source: Source, wheels: tuple[str, ...]) -> Component:
    locator = _locator(source)
    return Component(
        name=source.name,
        version=source.version,
        type=ComponentType.LIBRARY,
        bom_ref=locator.to_string(),
        purl=locator,
        licenses=[LicenseExpression(expression(source))],
        external_references=[_wheels(source, wheels)] if wheels else (),
        components=[*_files(source, locator), *_within(source, locator)],
    )


def _locator(source: Source) -> PackageURL:
    if source.kind == "pypi":
        return PackageURL("pypi", None, source.name, source.version)
    if source.kind == "deb":
        release = {"arch": "amd64", "distro": "debian-12"}
        return PackageURL("deb", "debian", source.name, source.version, release)
    return PackageURL("generic", None, source.name, source.version)


def _wheels(source: Source, digests: tuple[str, ...]) -> ExternalReference:
    return ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{source.name}/{source.version}/"),
        comment="the wheels that the lock file accepts",
        hashes=[HashType.from_hashlib_alg("sha256", digest) for digest in digests],
    )


def _files(source: Source, locator: PackageURL) -> Iterator[Component]:
    for place, path in sorted(source.files.items()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield Component(
            name=place,
            type=ComponentType.FILE,
            bom_ref=f"{locator.to_string()}#{place}",
            hashes=[HashType.from_hashlib_alg("sha256", digest)],
        )


def _within(source: Source, locator: PackageURL) -> Iterator[Component]:
    """Yield what a package says that it contains, such as a linked OpenSSL or Rust crates."""
    for file in (source.distribution.files or ()) if source.distribution else ():
        if "sboms" not in file.parts or not file.name.endswith(".json"):
            continue
        bill = json.loads(Path(str(file.locate())).read_text("utf-8"))
        for entry in bill.get("components", ()) if bill.get("bomFormat") == "CycloneDX" else ():
            kept = {key: entry[key] for key in _KEPT if key in entry}
            made = Component.from_json(data=kept)  # type: ignore[attr-defined]
            made.bom_ref.value = f"{locator.to_string()}#{entry['name']}@{entry['version']}"
            yield made


_KEPT: Final = ("type", "name", "version", "purl", "hashes", "licenses")
"""What is taken over of a component in a package's own bill."""
