"""When a dead stream job is started again, and when that is given up.

Belongs here: back-off and limit, on values alone. Does not: starting (``jobs/repair.py``), telling people (``incidents.py``).
"""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0, 30, 60, 120, 240))
"""Between an attempt and the one before it. One for each attempt that may be made within ``WINDOW``."""
LIMIT = len(PAUSES)
WINDOW = timedelta(hours=1)


class Step(StrEnum):
    """What is to be done now about a job that is dead."""

    START = "start"
    WAIT = "wait"
    GIVE_UP = "give up"
    STAY = "stay"


class Repairs(BaseModel):
    """What was tried.

    Attributes:
        wished_at: When the job was last asked for by a person: a new wish forgets what was tried.
        attempts: When it was started by a repair; older ones than ``WINDOW`` no longer count.
        count: Attempts since the wish.
        gave_up: No more are made.
    """

    model_config = ConfigDict(frozen=True)

    wished_at: AwareDatetime | None = None
    attempts: tuple[AwareDatetime, ...] = ()
    count: int = 0
    gave_up: bool = False

    def recent(self, *, now: datetime) -> tuple[datetime, ...]:
        """Return the attempts of the last ``WINDOW``."""
        return tuple(attempt for attempt in self.attempts if now - attempt < WINDOW)

    def tried(self, *, now: datetime) -> str:
        """Return in words what was tried of late, empty where nothing was."""
        recent = self.recent(now=now)
        if not recent:
            return ""
        times = ", ".join(f"{attempt:%H:%M:%S}" for attempt in recent)
        return f"start requested at {times} UTC ({len(recent)} of at most {LIMIT} within an hour)"


def next_step(repairs: Repairs, *, wished_at: datetime, now: datetime) -> tuple[Repairs, Step]:
    """Decide what to do about a dead job, and note it.

    ``GIVE_UP`` comes once; from then on it is ``STAY``, until a person wishes anew or the job is seen running.
    """
    if repairs.wished_at != wished_at:
        repairs = Repairs(wished_at=wished_at)
    if repairs.gave_up:
        return repairs, Step.STAY
    recent = repairs.recent(now=now)
    pause = PAUSES[min(len(recent), LIMIT - 1)]
    if recent and now - recent[-1] < pause:
        return repairs, Step.WAIT
    if len(recent) == LIMIT:
        return repairs.model_copy(update={"gave_up": True}), Step.GIVE_UP
    tried = {"attempts": (*recent, now), "count": repairs.count + 1}
    return repairs.model_copy(update=tried), Step.START


def seen_running(repairs: Repairs) -> Repairs:
    """Note that the job runs. What was tried still counts, unless it had been given up."""
    return Repairs(wished_at=repairs.wished_at, count=repairs.count) if repairs.gave_up else repairs
