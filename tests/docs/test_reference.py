"""The reference says what the code says, by being made from it."""

import json

import pytest

from fraudit_dagster.settings import PROJECT_DIR, Settings
from scripts import reference, reference_data


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_committed_page_is_not_stale(name: str) -> None:
    assert (reference.FOLDER / name).read_text() == reference.PAGES[name](), "run `make docs.reference`"


def test_nothing_else_is_among_the_made_pages() -> None:
    assert {path.name for path in reference.FOLDER.iterdir()} == set(reference.PAGES)


def test_every_command_has_its_section() -> None:
    page = reference.command_line()
    assert "\n## fraudit stream start\n" in page
    assert "\n## fraudit graph daily\n" in page
    assert "| `--order` | `<time\\|shuffled>` | `time` |" in page
    assert "setup-s" not in page, "hidden options stay hidden"


def test_every_setting_says_what_it_is() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]
    page = reference.settings()
    assert "| `POSTGRES_PORT` | `5432` | > 0, < 65536 |" in page
    assert str(PROJECT_DIR) not in page, "a default is the same on every machine"


def test_every_field_of_the_contract_says_what_it_is() -> None:
    from fraudit_dagster.contract import Contract, Feature, Split

    for described in (Contract, Feature, Split):
        assert set(reference.attributes(described)) == set(described.model_fields)


def test_a_nested_field_of_a_schema_has_its_place() -> None:
    document = {
        "properties": {
            "geo": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 3}}, "required": ["city"]},
            "labels": {"type": "array", "items": {"type": "object", "properties": {"at": {"enum": [0, None]}}}},
        },
        "required": ["geo"],
    }
    rows = reference_data.rows(document, document)
    assert [row[:3] for row in rows] == [
        ("`geo`", "object", ""),
        ("`geo.city`", "string, at most 3 characters", ""),
        ("`labels`", "array", "optional"),
        ("`labels[].at`", "`0`, `null`", "optional"),
    ]


def test_each_metric_of_the_schema_is_explained() -> None:
    document = json.loads((reference_data.SCHEMAS / "metrics.v1.json").read_text())
    assert all(f"| `{metric['name']}` | {metric['unit']} |" in reference.metrics() for metric in document["metrics"])


def test_a_later_migration_changes_what_a_table_is() -> None:
    tables = reference_data.warehouse()
    assert "manifest_version" in tables["fraud.daily_feature_drift"].columns, "dropped and made anew"
    assert "stored_at" in tables["fraud.quarantined_events"].columns, "added later"
    assert tables["fraud.fraud_labels"].comment.endswith("the latest labelled_at wins.")
