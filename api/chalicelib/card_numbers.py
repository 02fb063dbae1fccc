"""No card number may enter the system: how one is recognised.

The rule: 13 to 19 digits that begin with an issuer's prefix and pass the Luhn check. They may be written in groups, with
up to three characters between them that are neither letters nor digits, and in the digits of any script (full-width ones, say).
"""

import re
from collections.abc import Iterator

_MIN_DIGITS, _MAX_DIGITS = 13, 19
_GROUPS = re.compile(rf"\d(?:[\W_]{{0,3}}\d){{{_MIN_DIGITS - 1},}}")
_GROUP = re.compile(r"\d+")
_DECIMAL_FRACTION = re.compile(r"\d+\.\d+")
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
    """Whether the text holds a card number, in whole groups of digits; the decimals of a number are none."""
    return any(
        _has_issuer(digits) and _passes_luhn(digits)
        for groups in _GROUPS.findall(text)
        for digits in _candidates(groups)
    )


def _candidates(groups: str) -> Iterator[str]:
    if _DECIMAL_FRACTION.fullmatch(groups):
        return
    parts = _GROUP.findall(groups)
    for first in range(len(parts)):
        digits = ""
        for part in parts[first:]:
            digits += part
            if len(digits) > _MAX_DIGITS:
                break
            if len(digits) >= _MIN_DIGITS:
                yield digits


def _has_issuer(digits: str) -> bool:
    prefix = int(digits[:6])
    return any(first <= prefix <= last for first, last in _ISSUERS)


def _passes_luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - the sum of two digits
    return total % 10 == 0
