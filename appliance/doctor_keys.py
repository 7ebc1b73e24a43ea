"""Look at the root of all keys where it lies: both slots, and how surely one can be effaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.findings import Finding, Severity
from store.errors import StoreError
from store.ports import Disk
from store.vault import Vault
from store.vault.slots import SLOT_BYTES, SLOT_NAMES, decode_slot

_BLOCK_DEVICES: Final = Path("/sys/dev/block")
_BLANK: Final = bytes(SLOT_BYTES)
_DEVICES: Final = {
    True: "a device that says it rotates",
    False: "a device that does not rotate",
    None: "a device that does not say whether it rotates",
}
_KEEP_RUNNING: Final = (
    "Do not stop: the running server still has the root. Back up, sync a key replica, restore."
)


def examine_slots(keys: Disk, vault: Vault) -> Iterator[Finding]:
    """Yield findings about the root slots as the key directory has them now.

    While records are destroyed both slots are in use for a moment: look again before you believe
    in a leftover.
    """
    try:
        contents = [keys.read(name) for name in SLOT_NAMES]
        slots = [decode_slot(content) for content in contents]
    except StoreError as error:
        evidence = f"the root slots cannot be read: {error.code}"
        yield Finding("keys.root_missing", Severity.FAILURE, evidence, _KEEP_RUNNING)
        return
    generations = [None if slot is None else slot.generation for slot in slots]
    if vault.generation not in generations:
        evidence = f"no slot holds the root in use, number {vault.generation}"
        yield Finding("keys.root_missing", Severity.FAILURE, evidence, _KEEP_RUNNING)
        return
    used = generations.index(vault.generation)
    for number, (name, content) in enumerate(zip(SLOT_NAMES, contents, strict=True)):
        if number != used and content not in (None, _BLANK):
            yield Finding(
                "keys.root_leftover",
                Severity.WARNING,
                f"{name} should be blank and is not: an ended root may still be in it",
                "Restart: the start effaces it. If it stays, replace the keys' device.",
            )


def examine_tier(directory: Path, kind: str) -> Finding:
    """Return what the effacement of a root rests on: files, on which kind of device.

    ``kind`` is the file system's type.
    """
    where = f"{kind or 'an unknown file system'} on {_DEVICES[_is_rotating(directory)]}"
    return Finding(
        "keys.tier",
        Severity.NOTICE,
        f"roots end by overwriting (tier file), on {where}",
        "Weigh what an older copy of the key directory would mean: see the hardening guide.",
    )


def _is_rotating(directory: Path) -> bool | None:
    """Tell what the kernel says of a directory's device; None when it says nothing."""
    device = directory.stat().st_dev
    block = (_BLOCK_DEVICES / f"{os.major(device)}:{os.minor(device)}").resolve()
    for place in (block, block.parent):
        try:
            return (place / "queue" / "rotational").read_text("ascii").strip() == "1"
        except OSError:
            continue
    return None
