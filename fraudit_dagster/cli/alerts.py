"""``fraudit alerts``: who is told of blocked transactions, and of what is wrong.

Belongs here: checking what was typed, and what is shown. Does not: publishing (the API, and ``resources/alerts.py``).
"""

import json
import re
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.operate import resources
from fraudit_dagster.settings import Settings, load_settings

ENDPOINTS = {
    "email": (r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address, like fraud-team@example.com"),
    "https": (r"https://[^\s/]+\S*", "a URL, like https://alerts.example.com/fraud"),
    "sqs": (r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,80}(\.fifo)?", "the ARN of a queue"),
}
"""By protocol: what an endpoint reads like, as a pattern and in words."""
NEXT = {
    "email": "SNS has sent a mail with a link: nothing more comes before it is followed",
    "https": "SNS has posted a SubscribeURL to it: nothing more comes before it is fetched",
    "sqs": "the queue's policy must let the topic send to it",
}
VARIABLES = {"fraud": "ALERTS_TOPIC_ARN", "operations": "OPERATIONS_TOPIC_ARN"}


def subscribe(protocol: str, endpoint: str, *, topic: str) -> str:
    """Subscribe an endpoint to a topic and return a line that says what has to happen next.

    Args:
        protocol: ``email``, ``https`` or ``sqs``.
        endpoint: What the protocol asks for.
        topic: ``fraud`` or ``operations``.

    Raises:
        CommandError: The endpoint is none of this protocol, or the topic is not set.
        AlertError: SNS refused it.
    """
    pattern, words = ENDPOINTS[protocol]
    if not re.fullmatch(pattern, endpoint):
        raise CommandError(f"{endpoint!r} is not {words}")
    settings = load_settings()
    arn = topics(settings).get(topic)
    if arn is None:
        raise CommandError(f"no topic for {topic}: set {VARIABLES[topic]} to its ARN")
    with resources(settings, "alerts") as using:
        made = using.alerts.subscribe(arn, protocol=protocol, endpoint=endpoint)
    state = "subscribed" if made.confirmed else "asked to confirm"
    return f"{endpoint}: {state} ({topic}); {NEXT[protocol]}"


def show(*, as_json: bool) -> None:
    """Print who is told of what: a table, or a JSON list of objects.

    Raises:
        CommandError: No topic is set.
        AlertError: SNS cannot be asked.
    """
    settings = load_settings()
    known = topics(settings)
    if not known:
        raise CommandError(f"no topic is known: set {' or '.join(VARIABLES.values())}")
    with resources(settings, "alerts") as using:
        found = [(topic, each) for topic, arn in known.items() for each in using.alerts.subscriptions(arn)]
    if as_json:
        print(json.dumps([{"topic": topic, **asdict(each)} for topic, each in found]))  # noqa: T201 - the command's output
        return
    table = Table("topic", "protocol", "endpoint", "confirmed", title="Who is told")
    for topic, each in found:
        table.add_row(topic, each.protocol, escape(each.endpoint), "yes" if each.confirmed else "not yet")
    Console().print(table)


def topics(settings: Settings) -> dict[str, str]:
    """Return the ARNs of the topics that are set, by what they are about."""
    arns = {"fraud": settings.alerts_topic_arn, "operations": settings.operations_topic_arn}
    return {topic: arn for topic, arn in arns.items() if arn}
