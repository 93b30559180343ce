"""What is known of one run of one tool."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Row:
    """One tool's run of one work in one round.

    ``lost`` says why the run does not count: it failed, took too long, or the destination was not complete. ``span``
    is the time from the first request at any registry to the last. ``reported`` is what the tool itself tells. A
    ``peak`` not above ``least_peak``, which is what the measuring program has itself, may have been less.
    """

    work: str
    tool: str
    round: int
    wall: float = 0.0
    span: float = 0.0
    user: float = 0.0
    system: float = 0.0
    peak: int = 0
    least_peak: int = 0
    status: int = 0
    missing: int = 0
    lost: str = ""
    able: bool = True
    reported: float | None = None
    load: float = 0.0
    requests: dict[str, dict[str, int]] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """Seconds of CPU time of the command and all its descendants."""
        return self.user + self.system

    def as_json(self) -> dict[str, Any]:
        """Return the row as it is written to the file of raw figures."""
        return asdict(self)
