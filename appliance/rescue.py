"""Give a site whose key directory is lost its root again, from a key replica.

The data is whole, so nothing is restored and nothing is lost: the replica has the root that the
data's keys are under, if it was in step. One that was not cannot help; then a backup must.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from appliance import replicas
from appliance.held_wrap import HeldWrap
from appliance.restore import SLOT, keys_in
from appliance.site import ENGINE_DIRECTORY, AbsentError
from store.engine.lmdb import LmdbEngine
from store.errors import StoreError
from store.heads import read_head
from store.ports import Entropy
from store.replica import ForeignReplicaError, ReplicaError
from store.vault import Wrap, generation_of


class OutOfStepError(StoreError):
    """The replica's root is not the one that the data's keys are under."""

    code: ClassVar[str] = "replica.out_of_step"
    hint: ClassVar[str] = "Try another replica, or restore from a backup."


def rescue(data: Path, keys: Path, directory: Path, wrap: Wrap, entropy: Entropy) -> int:
    """Write the root of the replica in ``directory`` into the empty directory ``keys``.

    Returns the generation. The server is down. Raises ``AbsentError`` without data,
    ``UsedDirectoryError`` when ``keys`` holds anything, ``ReplicaError``,
    ``ForeignReplicaError``, ``OutOfStepError``, and ``VaultLockedError`` when the wrap does not
    open the replica.
    """
    if not (data / ENGINE_DIRECTORY).is_dir():
        raise AbsentError(f"{data} holds no organisation")
    held = HeldWrap(wrap)
    opened = replicas.open_in(directory, held, entropy, readonly=True)
    engine = LmdbEngine(data / ENGINE_DIRECTORY, readonly=True)
    try:
        replica, state = opened.replica, opened.replica.state()
        if state is None:
            raise ReplicaError("the key replica was never complete")
        with engine.snapshot() as reader:
            if read_head(reader).node != replica.node:
                raise ForeignReplicaError("the key replica is of another site")
            if generation_of(reader) != state.generation:
                raise OutOfStepError("the key replica was not in step with the data")
            vault = replica.open_vault(reader)
        try:
            with keys_in(keys, entropy) as slots:
                vault.seal_root_into(slots, SLOT, held)
        finally:
            vault.close()
        return state.generation
    finally:
        engine.close()
        opened.close()
        held.close()
