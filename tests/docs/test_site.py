"""The pages hang together: no link leads nowhere, every page can be found, every alarm has its page."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import scripts.pages
from fraudit_dagster.definitions import build_defs
from fraudit_dagster.settings import PROJECT_DIR, Settings
from scripts import reference, site
from scripts.lock import DOCS_LOCK, docs_inputs_hash
from scripts.pages import DOCS, anchors, blocks, broken_links, pages


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a page and what it links to."""
    docs = tmp_path / "docs"
    (docs / "pictures").mkdir(parents=True)
    (docs / "site.css").touch()
    (docs / "other.md").write_text("# Other\n\n## A `part`, and more\n\n## Twice\n\n## Twice\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "rules.py").write_text("LIMIT = 1\n")
    for module in (site, scripts.pages):
        monkeypatch.setattr(module, "PROJECT_DIR", tmp_path)
        monkeypatch.setattr(module, "DOCS", docs)
    return tmp_path


def staged(checkout: Path, text: str) -> str:
    (checkout / "docs" / "deep").mkdir(exist_ok=True)
    (checkout / "docs" / "deep" / "page.md").write_text(text)
    site.stage(checkout / "staged")
    return (checkout / "staged" / "deep" / "page.md").read_text()


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(PROJECT_DIR)))
def test_no_link_leads_nowhere(page: Path) -> None:
    assert broken_links(page) == []


def test_every_page_is_in_the_navigation_or_a_decision() -> None:
    def listed(entry: Any) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        inner = entry.values() if isinstance(entry, dict) else entry
        return set().union(*map(listed, inner))

    navigation = listed(tomllib.loads((PROJECT_DIR / "zensical.toml").read_text())["project"]["nav"])
    written = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if not re.match(r"\d{4}-", page.name)}
    assert navigation == written, "add the page to zensical.toml"


def test_every_decision_is_listed() -> None:
    listed = (DOCS / "decisions" / "README.md").read_text()
    assert [path.name for path in (DOCS / "decisions").glob("0*.md") if f"({path.name})" not in listed] == []


def test_every_check_and_every_alarm_has_its_place_in_the_runbook() -> None:
    graph = build_defs(Settings()).resolve_asset_graph()
    headings = re.findall(r"^### (.+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    checks = {f"{key.asset_key.to_user_string()}: {key.name}" for key in graph.asset_check_keys}
    entries = yaml.safe_load(reference.ALARMS.read_text())
    alarms = {entry["params"]["AlarmName"] for entry in entries if entry["action"] == "put_metric_alarm"}
    assert set(headings) == checks | alarms


def test_a_file_that_a_page_links_to_comes_along(checkout: Path) -> None:
    text = staged(checkout, "# Page\n\n[`rules`](../../code/rules.py), [all](../../code), [other](../other.md#twice)\n")
    assert text == "# Page\n\n[`rules`](../sources/code/rules.py.txt), all, [other](../other.md#twice)\n"
    assert (checkout / "staged" / "sources" / "code" / "rules.py.txt").read_text() == "LIMIT = 1\n"


def test_code_stays_as_it_is_but_for_the_words_that_are_for_tests(checkout: Path) -> None:
    text = staged(checkout, "```sh parsed\nmake demo   # [x](../../code/rules.py)\n```\n")
    assert text == "```sh\nmake demo   # [x](../../code/rules.py)\n```\n"


@pytest.mark.parametrize(
    ("link", "missing"),
    [("../gone.md", "there is no"), ("../other.md#third", "no heading third"), ("../pictures/gone.png", "there is no")],
)
def test_a_site_with_a_broken_link_is_not_made(checkout: Path, link: str, missing: str) -> None:
    with pytest.raises(site.SiteError, match=rf"docs/deep/page\.md: .*{missing}"):
        staged(checkout, f"# Page\n\n![picture]({link})\n")


def test_headings_have_the_anchors_that_github_gives_them(checkout: Path) -> None:
    assert anchors(checkout / "docs" / "other.md") == {"other", "a-part-and-more", "twice", "twice-1"}


def test_a_block_knows_its_place_and_its_words(checkout: Path) -> None:
    page = checkout / "docs" / "page.md"
    page.write_text("# Page\n\n1. First:\n\n    ```sh aws\n    aws s3 ls\n    ```\n")
    (block,) = blocks(page)
    assert (block.line, block.info, block.text.strip()) == (5, ("sh", "aws"), "aws s3 ls")


def test_the_lock_of_the_site_is_in_step_and_has_hashes_and_no_hosts() -> None:
    text = DOCS_LOCK.read_text()
    assert text.splitlines()[0] == f"# inputs sha256:{docs_inputs_hash()}", "run `make lock`"
    assert "zensical==" in text
    pins = re.findall(r"^[a-z0-9][^\n]*==", text, re.MULTILINE)
    assert len(re.findall(r"^[a-z0-9][^\n]*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)
    assert "://" not in text
