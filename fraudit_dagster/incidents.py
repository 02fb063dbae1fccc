"""From single ticks to what people are told: an incident is opened once, recovers once, and a signal that flaps is one incident.

Belongs here: when a signal's ticks become an incident, the words of its messages, and what a monitor remembers between its ticks.
Does not: the verdict of one tick (``monitoring.py``), sending (``resources/alerts.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from fraudit_dagster.monitoring import Signal, Verdict
from fraudit_dagster.repairs import Repairs

GOOD_TICKS = 2
"""Good ticks in a row after which an incident is over."""
HISTORY = 20
"""Ticks that are looked back on."""
FLAPS = 4
"""Changes between good and bad within ``HISTORY`` that are flapping: twice there and back."""
SETTLED_TICKS = 10
"""Equal ticks in a row after which it flaps no more."""
UNTOLD = 20
"""Messages kept for a topic that cannot be reached; the oldest are dropped."""
REPEAT = timedelta(minutes=2)
"""What has not changed is shown in Dagster again only after this: each event stays in its database."""


class Change(StrEnum):
    """What people are told of an incident."""

    OPENED = "opened"
    FLAPPING = "flapping"
    RECOVERED = "recovered"


class Incident(BaseModel):
    """The ticks of a signal, and what was made of them.

    Attributes:
        history: ``g`` and ``b`` for each good and bad tick, the newest last.
        state: What people were told last.
        since: First bad tick of what is, or may become, an incident.
    """

    model_config = ConfigDict(frozen=True)

    history: str = ""
    state: Literal["quiet", "open", "flapping"] = "quiet"
    since: AwareDatetime | None = None

    def after(self, *, bad: bool, bad_ticks: int, now: datetime) -> tuple["Incident", Change | None]:
        """Return the incident after one more tick, and what is to be told of it, if anything."""
        began = bad and self.state == "quiet" and not self.history.endswith("b")
        history = (self.history + ("b" if bad else "g"))[-HISTORY:]
        grown = self.model_copy(update={"history": history, "since": now if began else self.since})
        if self.state == "flapping":
            return _settled(grown)
        if sum(before != later for before, later in pairwise(history)) >= FLAPS:
            return grown.model_copy(update={"state": "flapping"}), Change.FLAPPING
        if self.state == "quiet" and history.endswith("b" * bad_ticks):
            return grown.model_copy(update={"state": "open"}), Change.OPENED
        if self.state == "open" and history.endswith("g" * GOOD_TICKS):
            return grown.model_copy(update={"state": "quiet"}), Change.RECOVERED
        return grown, None


def _settled(incident: Incident) -> tuple[Incident, Change | None]:
    """Return an incident that flaps, or what it is once it has settled."""
    settled = incident.history[-SETTLED_TICKS:]
    if settled == "g" * SETTLED_TICKS:
        return incident.model_copy(update={"state": "quiet", "history": settled}), Change.RECOVERED
    if settled == "b" * SETTLED_TICKS:
        return incident.model_copy(update={"state": "open", "history": settled}), Change.OPENED
    return incident, None


class Message(BaseModel):
    """What people are told."""

    model_config = ConfigDict(frozen=True)

    subject: str
    text: str


class Memory(BaseModel):
    """What a monitor knows of its earlier ticks: the cursor of its sensor.

    Attributes:
        incidents: By signal.
        untold: Messages that no topic has taken yet, the oldest first.
        shown: Verdicts that Dagster was shown last, by signal.
        shown_at: When that was.
        repairs: What was tried.
    """

    model_config = ConfigDict(frozen=True)

    incidents: Mapping[str, Incident] = {}
    untold: tuple[Message, ...] = ()
    shown: Mapping[str, Verdict] = {}
    shown_at: AwareDatetime | None = None
    repairs: Repairs = Repairs()

    @classmethod
    def read(cls, cursor: str | None) -> "Memory":
        """Return what a cursor says; nothing where there is none, or one of another version that is not understood."""
        try:
            return cls.model_validate_json(cursor or "{}")
        except ValidationError:
            return cls()

    def written(self) -> str:
        """Return it as a cursor."""
        return self.model_dump_json()

    def must_show(self, signals: Sequence[Signal], *, now: datetime) -> bool:
        """Whether Dagster has not been shown these verdicts, or not for ``REPEAT``."""
        if self.shown_at is None or now - self.shown_at >= REPEAT:
            return True
        return {signal.name: signal.verdict for signal in signals} != self.shown

    def with_shown(self, signals: Sequence[Signal], *, now: datetime) -> "Memory":
        """Note that Dagster was shown these verdicts."""
        return self.model_copy(update={"shown": {signal.name: signal.verdict for signal in signals}, "shown_at": now})

    def with_untold(self, messages: Sequence[Message]) -> "Memory":
        """Note messages that are to be told."""
        return self.model_copy(update={"untold": (*self.untold, *messages)[-UNTOLD:]})


@dataclass(frozen=True, slots=True)
class Component:
    """Something that is watched: its name, which is its asset's key with slashes, and where its page in the Dagster UI is."""

    name: str
    url: str


def advance(memory: Memory, signals: Sequence[Signal], *, component: Component, now: datetime) -> Memory:
    """Take one tick into account, and put what is to be told of it with the untold: one message for all signals that changed alike.

    A signal of unknown verdict leaves its incident as it is, and one that is no longer watched is forgotten.
    """
    incidents, told = {}, list[tuple[Change, Signal, Incident]]()
    for signal in signals:
        incident = memory.incidents.get(signal.name, Incident())
        if signal.verdict is not Verdict.UNKNOWN:
            incident, change = incident.after(bad=signal.verdict is Verdict.BAD, bad_ticks=signal.bad_ticks, now=now)
            if change is not None:
                told.append((change, signal, incident))
        incidents[signal.name] = incident
    messages = [
        _message(
            kind,
            [(signal, incident) for change, signal, incident in told if change is kind],
            component,
            memory.repairs,
            now,
        )
        for kind in Change
        if any(change is kind for change, _, _ in told)
    ]
    return memory.model_copy(update={"incidents": incidents}).with_untold(messages)


def gave_up(component: Component, signal: Signal, repairs: Repairs, *, now: datetime) -> Message:
    """Return the message that no more is tried."""
    lines = [
        f"{component.name} stays down, and nothing more is tried ({now:%Y-%m-%d %H:%M:%S} UTC).",
        "",
        f"{signal.name}: {signal.says}",
        f"tried: {repairs.tried(now=now)}",
        "",
        "Mend what the reason names, then `fraudit stream start`. Kinesis keeps what was not stored for its retention (24 h).",
        "",
        component.url,
    ]
    return Message(subject=f"fraudit: {component.name}: repair gave up", text="\n".join(lines))


_HEADLINES = {
    Change.OPENED: ("is not well", "is not well"),
    Change.FLAPPING: ("is flapping", "comes and goes; the next message comes when it has settled"),
    Change.RECOVERED: ("is well again", "is well again"),
}


def _message(
    kind: Change, found: Sequence[tuple[Signal, Incident]], component: Component, repairs: Repairs, now: datetime
) -> Message:
    short, long = _HEADLINES[kind]
    lines = [f"{component.name} {long} ({now:%Y-%m-%d %H:%M:%S} UTC).", ""]
    for signal, incident in found:
        was = "was " if kind is Change.RECOVERED else ""
        since = f" ({was}bad since {incident.since:%Y-%m-%d %H:%M:%S} UTC)" if incident.since else ""
        lines.append(f"{signal.name}: {signal.says}{since}")
    if tried := repairs.tried(now=now):
        lines.append(f"tried: {tried}")
    names = ", ".join(signal.name for signal, _ in found)
    return Message(subject=f"fraudit: {component.name} {short}: {names}", text="\n".join([*lines, "", component.url]))
