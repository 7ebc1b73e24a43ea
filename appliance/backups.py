"""Back an opened site up, with its settings; the store does the rest."""

from __future__ import annotations

from pathlib import Path

from appliance.config import FILE_NAME, Config, key_directory, replica_directories
from appliance.site import Site
from appliance.version import program_version
from store import backup
from store.backup import SETTINGS_BYTES, Manifest
from store.errors import EngineError


def create(site: Site, config: Config, data_dir: Path, target: Path) -> Manifest:
    """Back the site up into a new directory while it goes on; blocking, O(store).

    Raises as ``store.backup.create``.
    """
    apart_from = [
        data_dir,
        key_directory(config, data_dir),
        *replica_directories(config, data_dir),
    ]
    return backup.create(
        site.ports.engine,
        target,
        sign=site.core.sign,
        created_ms=site.ports.clock.wall_ms(),
        program=program_version(),
        apart_from=apart_from,
        settings=_settings(data_dir),
    )


def _settings(data_dir: Path) -> bytes | None:
    """Return the configuration file, which holds no secret; None when there is none."""
    try:
        with (data_dir / FILE_NAME).open("rb") as file:
            return file.read(SETTINGS_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineError(f"reading {FILE_NAME}: {error.strerror}") from error
