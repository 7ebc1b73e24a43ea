"""A machine whose true time nobody knows, whose uptime drifts and whose wall clock lies."""

from appliance.policy.clock import Reading

START_MS = 1_790_000_000_000
MILLION = 1_000_000


class Machine:
    """Uptime runs ``drift_ppm`` millionths fast; the wall clock is off by whatever was set."""

    def __init__(self, drift_ppm: int = 0) -> None:
        self.true_ms = START_MS
        self.drift_ppm = drift_ppm
        self.boots = 1
        self._up_true_ms = 5_000
        self.wall_error_ms = 0

    def run(self, milliseconds: int) -> None:
        self.true_ms += milliseconds
        self._up_true_ms += milliseconds

    def restart(self, off_ms: int, up_ms: int = 1_000) -> None:
        self.true_ms += off_ms
        self.boots += 1
        self._up_true_ms = 0
        self.run(up_ms)

    def move(self, up_ms: int) -> None:
        """Become another machine, which has been up for so long."""
        self.boots += 1
        self._up_true_ms = up_ms

    @property
    def uptime_ms(self) -> int:
        return self._up_true_ms * (MILLION + self.drift_ppm) // MILLION

    def reading(self) -> Reading:
        wall_ms = max(1, self.true_ms + self.wall_error_ms)
        return Reading(wall_ms, f"boot-{self.boots}", self.uptime_ms)
