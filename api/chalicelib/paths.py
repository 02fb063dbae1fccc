"""How an error names a field: ``metadata.geo.city``, ``transactions[3].data.V7``.

Belongs here: the spelling of such a path, and what of a client's own words may stand in it. Does not: what is wrong.
"""

import re

from chalicelib.card_numbers import holds_card_number

HIDDEN = "*"
_HARMLESS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)


def join(where: str, name: str) -> str:
    """Return the path of a field of the object at ``where``; the body itself is the empty path."""
    return f"{where}.{name}" if where else name


def shown(name: str) -> str:
    """Return a name that a client chose as an error may repeat it.

    Clients have sent personal data as keys. What is not plainly the name of a field becomes ``*``: whatever is long, is
    no identifier (e-mail addresses, names of people), or holds a card number.
    """
    return name if _HARMLESS.fullmatch(name) and not holds_card_number(name) else HIDDEN
