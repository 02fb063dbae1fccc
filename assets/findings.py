"""What a validation found, as Dagster shows it.

Belongs here: the verdict in a sentence, the findings in a table. Does not: the rules (``fraudit_dagster/validation.py``).
"""

from collections.abc import Sequence

import dagster as dg

from fraudit_dagster.validation import Finding


def flaws_of(findings: Sequence[Finding]) -> tuple[str, ...]:
    """What failed, in words, for the record that the asset hands on."""
    return tuple(str(finding) for finding in findings if not finding.passed)


def check_result(
    findings: Sequence[Finding],
    *,
    asset_key: dg.AssetKey,
    check_name: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """The findings as the result of a check: failed ones are named in its description and come first in its table."""
    failed = [finding for finding in findings if not finding.passed]
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=check_name,
        passed=not failed,
        severity=severity,
        description=f"{len(failed)} of {len(findings)} expectations failed: {'; '.join(map(str, failed))}."
        if failed
        else f"All {len(findings)} expectations are met.",
        metadata={
            "expectations": len(findings),
            "failed": len(failed),
            "findings": dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "passed": finding.passed,
                            "column": finding.column,
                            "expectation": finding.expectation,
                            "unexpected rows": finding.unexpected,
                            "observed": finding.observed,
                        }
                    )
                    for finding in sorted(findings, key=lambda finding: finding.passed)
                ]
            ),
        },
    )
