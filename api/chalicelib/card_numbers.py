"""No card number may enter the system: how one is recognised.

The rule: 13 to 19 digits (spaces or hyphens between them allowed) that begin with an issuer's prefix and pass the Luhn check.
"""

import re
from collections.abc import Iterator

_CANDIDATE = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])", re.ASCII)
# Issuer identification numbers as ranges of six digits, ISO/IEC 7812.
_ISSUERS = (
    (222100, 272099),  # Mastercard
    (300000, 305999),  # Diners Club
    (340000, 349999),  # American Express
    (352800, 358999),  # JCB
    (360000, 369999),  # Diners Club
    (370000, 379999),  # American Express
    (380000, 399999),  # Diners Club
    (400000, 499999),  # Visa
    (500000, 509999),  # Maestro
    (510000, 559999),  # Mastercard
    (560000, 589999),  # Maestro
    (600000, 699999),  # Discover, Maestro, RuPay, UnionPay
)


def holds_card_number(text: str) -> bool:
    """Whether the text holds a card number, in any of its runs of digits."""
    return any(_has_issuer(digits) and _passes_luhn(digits) for digits in _candidates(text))


def _candidates(text: str) -> Iterator[str]:
    for match in _CANDIDATE.finditer(text):
        yield match.group().replace(" ", "").replace("-", "")


def _has_issuer(digits: str) -> bool:
    prefix = int(digits[:6])
    return any(first <= prefix <= last for first, last in _ISSUERS)


def _passes_luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - the sum of two digits
    return total % 10 == 0
