"""What the API refuses, with which status, code and field."""

import json
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.api.conftest import KEY, OCCURRED_AT, World

JSON_WITH_KEY = {"x-api-key": KEY, "content-type": "application/json"}
Body = Callable[..., dict[str, Any]]
ERROR_SCHEMA = Path(__file__).parents[2] / "fraudit_dagster" / "schemas" / "error.v1.json"


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets the field at a dotted path; ``...`` deletes it."""

    def apply(body: dict[str, Any]) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            body = body[parent]
        if value is ...:
            del body[name]
        else:
            body[name] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("data.V2", ..., "missing_field"),
        ("data.V3", 1.0, "unknown_field"),
        ("data.V1", "0.1", "not_a_number"),
        ("data.V1", True, "not_a_number"),
        ("data.V1", None, "not_a_number"),
        ("data.V1", math.nan, "not_finite"),
        ("data.V1", -math.inf, "not_finite"),
        ("data.V1", 10**400, "not_finite"),
        ("data.Amount", -1, "out_of_range"),
        ("data.V1", 4111111111111111, "card_number"),
        ("data", [1, 2, 3, 4], "not_an_object"),
        ("data", ..., "missing_field"),
        ("metadata", ..., "missing_field"),
        ("metadata.user_id", ..., "missing_field"),
        ("metadata.user_id", "", "not_a_text"),
        ("metadata.user_id", "a\x00b", "not_a_text"),
        ("metadata.user_id", "x" * 129, "not_a_text"),
        ("metadata.user_id", " x", "not_a_text"),
        ("metadata.user_id", "\ud800", "not_a_text"),
        ("metadata.card", "x", "unknown_field"),
        ("metadata.timestamp", "2026-11-23T10:00:00", "not_a_timestamp"),
        ("metadata.timestamp", "2026-11-23", "not_a_timestamp"),
        ("metadata.timestamp", 1700000000, "not_a_timestamp"),
        ("metadata.timestamp", "20261123T100000Z", "not_a_timestamp"),
        ("metadata.timestamp", "0000-01-01T00:00:00Z", "not_a_timestamp"),
        ("metadata.timestamp", "9999-12-31T23:59:59-12:00", "not_a_timestamp"),
        ("metadata.timestamp", "2016-12-31T23:59:60Z", "not_a_timestamp"),
        ("metadata.timestamp", "0001-01-01T00:00:00Z", "out_of_range"),
        pytest.param(
            "metadata.timestamp",
            (OCCURRED_AT - timedelta(days=90, minutes=1)).isoformat(),
            "out_of_range",
            id="too old",
        ),
        pytest.param(
            "metadata.timestamp",
            (OCCURRED_AT + timedelta(days=1, hours=2)).isoformat(),
            "out_of_range",
            id="too early",
        ),
        ("metadata.ip_address", "198.18.0.256", "not_an_ip_address"),
        ("metadata.geo.latitude", 90.5, "out_of_range"),
        ("metadata.geo.country", ..., "missing_field"),
        ("metadata.device_info.os_version", 16, "not_a_text"),
        ("metadata.geo", [[[[{}]]]], "not_an_object"),
        ("metadata.ip_address", "fe80::1%eth0", "not_an_ip_address"),
        ("metadata.source", "card 4111-1111-1111-1111", "card_number"),
        ("metadata.device_info.app_version", "5500005555555559", "card_number"),
    ],
)
def test_the_field_at_fault_is_named(world: World, body: Body, path: str, value: Any, code: str) -> None:
    request = body()
    change(path, value)(request)
    response = world.api.post("/predict", content=json.dumps(request), headers=JSON_WITH_KEY)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["field"]) == (code, path)
    assert error["request_id"]
    jsonschema.validate(response.json(), json.loads(ERROR_SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        ("0,1,2", "wrong_count", "data"),
        ("0,1,2,3,4", "wrong_count", "data"),
        ("", "wrong_count", "data"),
        ("0,x,2,3", "not_a_number", "data.V1"),
        ("0,,2,3", "not_a_number", "data.V1"),
        ("0,1_0,2,3", "not_a_number", "data.V1"),
        ("0,nan,2,3", "not_finite", "data.V1"),
        ("0,-inf,2,3", "not_finite", "data.V1"),
        ("0,1e999,2,3", "not_finite", "data.V1"),
        ("0,1,4111111111111111,3", "card_number", "data.V2"),
        ("0,1,2,-1", "out_of_range", "data.Amount"),
        ("0," + "1" * 50_000 + "x,2,3", "not_a_number", "data.V1"),
        ("0,1,\x00,3", "not_a_number", "data.V2"),
    ],
)
def test_csv_keeps_the_same_rules(world: World, body: Body, line: str, code: str, field: str) -> None:
    response = world.predict({**body(), "data": line})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (400, code, field)


@pytest.mark.parametrize("moment", [-timedelta(days=89, hours=23), timedelta(hours=23)])
def test_the_warehouse_takes_times_of_90_days_and_one_ahead(world: World, body: Body, moment: timedelta) -> None:
    request = body()
    request["metadata"]["timestamp"] = (OCCURRED_AT + moment).isoformat()
    assert world.predict(request).status_code == 200


@pytest.mark.parametrize("number", ["9" * 10_000, "-" + "9" * 10_000, "1e400", "NaN", "-Infinity"])
def test_numbers_that_no_float_holds(world: World, body: Body, number: str) -> None:
    content = json.dumps(body()).replace("0.05", number)
    response = world.api.post("/predict", content=content, headers=JSON_WITH_KEY)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (400, "not_finite", "data.V1")


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ('"Amount":', '"Amount": 1.0, "Amount":', "data.Amount"),
        ('"city":', '"city": "Delft", "city":', "metadata.geo.city"),
        ('"data":', '"data": "0,0,0,0", "data":', "data"),
        ('"city":', '"4111 1111 1111 1111": 1, "4111 1111 1111 1111": 1, "city":', "metadata.geo.*"),
    ],
)
def test_a_name_given_twice_is_ambiguous(world: World, body: Body, before: str, after: str, field: str) -> None:
    content = json.dumps(body()).replace(before, after)
    response = world.api.post("/predict", content=content, headers=JSON_WITH_KEY)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (400, "duplicate_field", field)


@pytest.mark.parametrize(
    "name",
    ["4111111111111111", "c4111-1111-1111-1111", "jan@example.com", "Jan Jansen", "", "\x00", "\ud800", "n" * 65],
)
def test_an_unknown_name_that_may_be_personal_is_not_repeated(world: World, body: Body, name: str) -> None:
    request = body()
    request["metadata"]["geo"][name] = 1
    response = world.api.post("/predict", content=json.dumps(request), headers=JSON_WITH_KEY)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (400, "unknown_field", "metadata.geo.*")
    assert not name or name not in error["message"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b'{"a": ', id="half a field"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"[" * 20_000, id="deep lists"),
        pytest.param(b'{"a":' * 10_000, id="deep objects"),
    ],
)
def test_a_body_that_is_not_json(world: World, content: bytes) -> None:
    response = world.api.post("/predict", content=content, headers=JSON_WITH_KEY)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"x"', b"NaN"])
def test_a_body_that_is_no_object(world: World, content: bytes) -> None:
    response = world.api.post("/predict", content=content, headers=JSON_WITH_KEY)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (400, "not_an_object", None)


def test_an_id_may_look_like_a_card_number(world: World, body: Body) -> None:
    request = body()
    request["metadata"] |= {"user_id": "4111111111111111", "transaction_id": "5500005555555559"}
    assert world.predict(request).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthorized"),
        ({"x-api-key": ""}, 401, "unauthorized"),
        ({"authorization": KEY}, 401, "unauthorized"),
        ({"x-api-key": "nonsense"}, 403, "forbidden"),
        ({"x-api-key": KEY + "A"}, 403, "forbidden"),
        ({"x-api-key": KEY.replace("ab12cd34", "00000000")}, 403, "forbidden"),
        ({"x-api-key": KEY.replace("fraudit", "other")}, 403, "forbidden"),
    ],
)
def test_only_callers_with_a_key(world: World, body: Body, headers: dict[str, str], status: int, code: str) -> None:
    response = world.api.post("/predict", json=body(), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", {}, (404, "not_found")),
        ("POST", "/predict/nothing", {}, (404, "not_found")),
        ("GET", "/predict", {}, (405, "method_not_allowed")),
        ("POST", "/predict", {"content-type": "text/csv"}, (415, "unsupported_media_type")),
    ],
)
def test_other_requests(
    world: World, method: str, path: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    response = world.api.request(method, path, headers={"x-api-key": KEY, **headers}, content=b"1")
    assert (response.status_code, response.json()["error"]["code"]) == expected


@pytest.mark.parametrize("size", [65_537, 10 * 2**20 + 1])
def test_a_body_that_is_too_large(world: World, size: int) -> None:
    response = world.api.post("/predict", content=b" " * size, headers=JSON_WITH_KEY)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
