"""Say where things are: the data directory and, inside it, pid, socket and profiles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DEMO_DATA: Final = "demo-data"
DEMO_KEYS: Final = "demo-keys"
SYSTEM_DATA: Final = Path("/var/lib/strongroom")

DATA_VARIABLE: Final = "STRONGROOM_DATA"


def data_directory(option: Path | None) -> Path:
    """Return the data directory: the option, the variable, ./demo-data, or the system's."""
    if option is not None:
        return option.absolute()
    variable = os.environ.get(DATA_VARIABLE)
    if variable:
        return Path(variable).absolute()
    demo = Path(DEMO_DATA)
    return demo.absolute() if demo.is_dir() else SYSTEM_DATA


def run_directory(data: Path) -> Path:
    """Return where a running server keeps its pid and socket."""
    return data / "run"


def pid_file(data: Path) -> Path:
    """Return the file with the server's process id."""
    return run_directory(data) / "pid"


def admin_socket(data: Path) -> Path:
    """Return the administration socket's path."""
    return run_directory(data) / "admin.sock"


def profiles(data: Path) -> Path:
    """Return where a demo organisation's client profiles are."""
    return data / "profiles"


def personal_profiles() -> Path:
    """Return where a user's own client profiles are."""
    base = os.environ.get("XDG_CONFIG_HOME")
    home = Path(base) if base else Path.home() / ".config"
    return home / "strongroom" / "profiles"


def profile_directory(option: Path | None, who: str, data: Path) -> Path:
    """Return a person's profile: the option, the demo's if there is one, or the user's own."""
    if option is not None:
        return option.absolute()
    demo = profiles(data) / who
    return demo if demo.is_dir() else personal_profiles() / who
