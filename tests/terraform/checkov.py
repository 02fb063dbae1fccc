"""checkov over a plan, in its own environment (it pins what the project has newer), without its questions to a server."""

import json
import subprocess
from pathlib import Path

from scripts.terraform import TOOLS
from tests.terraform.plans import Plan


def failures(plan: Plan, folder: Path) -> tuple[int, dict[str, list[str]]]:
    """Return how many checks passed, and the addresses of the resources that failed, by the check's name.

    Args:
        plan: With the values that AWS would decide, so that a reference to a key is one.
        folder: For the plan as a file, which checkov reads.
    """
    file = folder / "plan.json"
    file.write_text(json.dumps(plan))
    options = ["--framework", "terraform_plan", "--skip-download", "--output", "json", "--quiet", "--soft-fail"]
    done = subprocess.run(
        [TOOLS / "checkov", "-f", file, *options], cwd=folder, capture_output=True, text=True, check=True
    )
    report = json.loads(done.stdout)
    found: dict[str, list[str]] = {}
    for failed in report["results"]["failed_checks"]:
        found.setdefault(failed["check_id"], []).append(failed["resource"])
    assert report["summary"]["parsing_errors"] == 0
    return report["summary"]["passed"], found
