"""Who may see the dashboard: everybody on this machine, or else who signs in and is on the list.

Belongs here: that decision. Does not: how somebody signs in; that is Streamlit's OpenID Connect and the provider's
(``docs/dashboard.md``).
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from fraudit_dagster.settings import load_settings


def refusal(host: str | None) -> str | None:
    """Return why the dashboard may not listen on an address, or None where it may.

    Args:
        host: Name or address; None or empty: all addresses of the machine.
    """
    if _is_loopback(host):
        return None
    missing = [] if has_sign_in() else ["a section [auth] in .streamlit/secrets.toml"]
    missing += [] if load_settings().dashboard_users else ["FRAUDIT_DASHBOARD_USERS"]
    if not missing:
        return None
    where = host or "all addresses"
    return f"the dashboard shows personal data, and listens on {where} only with sign-in: set {' and '.join(missing)} (docs/dashboard.md)"


def has_sign_in() -> bool:
    """Whether an OpenID Connect provider is configured."""
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return False


def is_allowed(user: Mapping[str, Any], allowed: frozenset[str]) -> bool:
    """Whether somebody who signed in may come in.

    Args:
        user: What the provider says of them: ``email``, and ``email_verified`` where it says so.
        allowed: E-mail addresses, in lower case.
    """
    return user.get("email_verified") is not False and str(user.get("email", "")).lower() in allowed


def let_in() -> None:
    """End the run of the page for who may not see it; they are told what to do."""
    if reason := refusal(st.get_option("server.address")):
        st.error(f"{reason[0].upper()}{reason[1:]}.")
        st.stop()
    if not has_sign_in():
        return
    if not st.user.is_logged_in:
        st.title("fraudit")
        st.write("This dashboard shows personal data. Please sign in.")
        st.button("Sign in", on_click=st.login, type="primary")
        st.stop()
    if not is_allowed(st.user.to_dict(), load_settings().dashboard_users):
        st.error(f"{st.user.get('email', 'You')} is not among those who may see this dashboard.")
        st.button("Sign out", on_click=st.logout)
        st.stop()


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "0.0.0.0").is_loopback  # noqa: S104 - what it means not to say one
    except ValueError:
        return False
