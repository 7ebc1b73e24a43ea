"""A site in real directories, with a key replica and backups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from appliance import backups, restore
from appliance.config import FILE_NAME, Config, ReplicasSection, StoreSection
from appliance.context import SITE
from appliance.directory.commands import CreatePerson
from appliance.replicas import make_in, open_in
from appliance.restore import Plan, RestoreReport
from appliance.site import Site, data_ports
from store.clocks import SystemClock, SystemEntropy
from store.engine.txn import Txn
from store.vault import STANDARD, Wrap

MAP_BYTES = 1 << 26
ENTROPY = SystemEntropy()


class Office:
    """A site in directories, with a key replica and backups."""

    def __init__(self, path: Path, wrap: Wrap) -> None:
        self.path, self.wrap = path, wrap
        self.data, self.keys, self.replica = path / "data", path / "keys", path / "replica"
        self.site = Site.create(data_ports(self.data, self.keys, MAP_BYTES), wrap, name="Office")
        self.config = Config(
            store=StoreSection(MAP_BYTES), replicas=ReplicasSection((str(self.replica),))
        )
        self.settings(self.replica)
        make_in(self.replica, wrap, ENTROPY, node=self.site.core.log.node)
        self.enrol("alice")
        self.sync()

    def settings(self, *replicas: Path) -> None:
        named = ", ".join(f'"{path}"' for path in replicas)
        text = f"[store]\nmap_bytes = {MAP_BYTES}\n\n[replicas]\ndirectories = [{named}]\n"
        (self.data / FILE_NAME).write_text(text)

    def enrol(self, login: str) -> None:
        self.site.run(SITE, CreatePerson(login, login.title()))

    def sync(self, directory: Path | None = None) -> None:
        opened = open_in(directory or self.replica, self.wrap, ENTROPY)
        with self.site.ports.engine.snapshot() as reader:
            opened.replica.sync(reader, self.site.vault, SystemClock().wall_ms())
        opened.close()

    def switch(self) -> None:
        """Change the root, as a destruction does: a part of no operation goes."""
        vault, engine = self.site.vault, self.site.ports.engine
        with engine.snapshot() as reader:
            txn = Txn(reader)
            locator, _ = vault.seal(txn, 1, STANDARD, b"part", b"context", 1)
            vault.doom(txn, [locator])
            switch = vault.begin_switch(txn)
            assert switch is not None
            switch.write()
            engine.batch(txn.writes, self.site.token)
            switch.finish(engine)
        self.site.close()
        self.site = Site.open(data_ports(self.data, self.keys, MAP_BYTES), self.wrap)

    def back_up(self, name: str = "backup") -> Path:
        backups.create(self.site, self.config, self.data, self.path / name)
        return self.path / name

    def plan(self, name: str = "backup", **changes: object) -> Plan:
        plan = Plan(
            self.path / name,
            (self.replica,),
            self.path / "new",
            self.path / "newkeys",
            self.wrap,
            {"keys.directory": "../newkeys"},
        )
        return replace(plan, **changes)  # type: ignore[arg-type]

    def restore(self, plan: Plan | None = None) -> tuple[RestoreReport, list[str]]:
        told: list[str] = []
        chosen = plan or self.plan()
        report = restore.restore(chosen, clock=SystemClock(), entropy=ENTROPY, tell=told.append)
        return report, told

    def restored(self) -> Site:
        return Site.open(data_ports(self.path / "new", self.path / "newkeys", MAP_BYTES), self.wrap)

    def names(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}
