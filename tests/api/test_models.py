"""What is served is shown to callers with a key."""

from collections.abc import Callable

import pytest
from chalicelib.errors import ApiError
from chalicelib.service import Service

from tests.api.conftest import KEY, MANIFEST, World


def test_the_manifest_is_shown_without_golden_rows_and_medians(world: World) -> None:
    response = world.api.get("/models", headers={"x-api-key": KEY})
    assert response.status_code == 200
    assert response.json() == {
        **{name: part for name, part in MANIFEST.items() if name != "golden"},
        **{
            model: {field: value for field, value in MANIFEST[model].items() if field != "medians"}
            for model in ("fraud_classifier", "anomaly_detector")
        },
    }


def test_only_callers_with_a_key(world: World) -> None:
    assert world.api.get("/models").status_code == 401


def test_where_nothing_is_served(make_service: Callable[..., Service]) -> None:
    with pytest.raises(ApiError) as caught:
        make_service(model_bucket="no-such-bucket").models()
    assert (caught.value.status, caught.value.code) == (503, "no_manifest")
