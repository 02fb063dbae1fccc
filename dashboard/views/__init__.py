"""The pages, one module each; Streamlit runs a page as a script (``dashboard/app.py`` names them)."""
