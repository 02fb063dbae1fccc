"""Card numbers are recognised by length, issuer and Luhn's check; the numbers are the issuers' own test numbers."""

import pytest
from chalicelib.card_numbers import holds_card_number


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4222222222222",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "30569309025904",
        "3530111333300000",
        "6759649826438453",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "4111 - 1111 / 1111_1111",
        "3782 822463 10005",
        "\uff14\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11",
        "paid with 378282246310005, thanks",
        "card: 4111111111111111.",
        "order 12 4111 1111 1111 1111 of 2026",
        "c4111111111111111",
    ],
)
def test_recognised(text: str) -> None:
    assert holds_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("4111111111111112", id="wrong check digit"),
        pytest.param("0000000000000000", id="no issuer"),
        pytest.param("1234567812345670", id="no issuer, right check digit"),
        pytest.param("411111111111", id="too short"),
        pytest.param("41111111111111111111", id="too long"),
        pytest.param("0.4111111111111111", id="decimals of a number"),
        pytest.param("-12.4111111111111111", id="decimals of a larger number"),
        pytest.param("2026-11-23 10:00:00.123", id="a time"),
        pytest.param("Android 16.4.1", id="a version"),
        pytest.param("", id="nothing"),
    ],
)
def test_not_recognised(text: str) -> None:
    assert not holds_card_number(text)
