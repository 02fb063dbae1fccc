"""Beyond this machine the dashboard is for those who sign in and are on the list."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from dashboard.access import is_allowed, refusal
from fraudit_dagster.settings import PROJECT_DIR
from tests.dashboard.conftest import Visit, told

AUTH = {
    "auth": {"redirect_uri": "https://dashboard.example/oauth2/callback", "cookie_secret": "x", "client_id": "fraudit"}
}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_this_machine_nobody_signs_in(host: str) -> None:
    assert refusal(host) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "dashboard.example", "", None])  # noqa: S104
def test_beyond_it_what_is_missing_is_named(host: str | None) -> None:
    reason = refusal(host)
    assert reason is not None
    assert "[auth]" in reason
    assert "FRAUDIT_DASHBOARD_USERS" in reason


def test_the_server_does_not_even_listen() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dashboard.server", "--host", "0.0.0.0", "--port", "1"],  # noqa: S104
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "only with sign-in" in done.stderr


def test_started_some_other_way_it_shows_nothing(visit: Visit, listens_on: Callable[[str], None]) -> None:
    listens_on("0.0.0.0")  # noqa: S104
    page = visit()
    assert "only with sign-in" in told(page)
    assert not page.metric
    assert not page.selectbox


@pytest.mark.parametrize(
    ("user", "may"),
    [
        ({"email": "ann@example.org", "email_verified": True}, True),
        ({"email": "Ann@Example.org"}, True),
        ({"email": "ann@example.org", "email_verified": False}, False),
        ({"email": "eve@example.org", "email_verified": True}, False),
        ({}, False),
    ],
)
def test_who_signed_in_must_be_on_the_list(user: dict[str, object], *, may: bool) -> None:
    assert is_allowed(user, frozenset({"ann@example.org"})) is may


@pytest.mark.parametrize(
    ("user", "sees", "says"),
    [
        ({"is_logged_in": False}, False, "Please sign in"),
        ({"is_logged_in": True, "email": "eve@example.org"}, False, "eve@example.org is not among those"),
        ({"is_logged_in": True, "email": "ann@example.org"}, True, ""),
    ],
)
def test_with_sign_in_it_may_listen_everywhere(
    visit: Visit,
    listens_on: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    user: dict[str, object],
    *,
    sees: bool,
    says: str,
) -> None:
    monkeypatch.setenv("FRAUDIT_DASHBOARD_USERS", "Ann@example.org, bob@example.org")
    listens_on("0.0.0.0")  # noqa: S104
    page = visit(secrets=AUTH, user=user)
    assert not page.exception
    assert bool(page.selectbox) is sees
    assert says in told(page) + "".join(text.value for text in page.markdown)
