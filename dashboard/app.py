"""The frame around each page: who may come in, the filters, the navigation. Streamlit runs it for each visitor, anew at each click."""

from pathlib import Path

import streamlit as st

from dashboard.access import let_in
from dashboard.filters import show_filters
from dashboard.reading import failures_told

VIEWS = Path(__file__).with_name("views")
# A browser would fetch one of Streamlit's own icons from the makers of their font.
ICON = Path(__file__).with_name("icon.svg")
PAGES = [
    st.Page(VIEWS / "traffic.py", title="Live traffic", icon=":material/monitoring:", default=True),
    st.Page(VIEWS / "review.py", title="Review queue", icon=":material/fact_check:"),
    st.Page(VIEWS / "models.py", title="Model health", icon=":material/model_training:"),
    st.Page(VIEWS / "system.py", title="System health", icon=":material/health_and_safety:"),
]


def main() -> None:
    """Show the page that was asked for."""
    st.set_page_config(page_title="fraudit", page_icon=ICON.read_text(), layout="wide")
    let_in()
    page = st.navigation(PAGES)
    st.title(page.title)
    show_filters()
    with failures_told():
        page.run()


main()
