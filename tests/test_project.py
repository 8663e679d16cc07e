"""What surrounds the package: versions agree, workflows name what exists, no promise without its file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    latest = re.search(
        r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )
    assert latest
    assert citation["version"] == PROJECT["version"] == latest[1]
    assert str(citation["date-released"]) == latest[2]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_what_there_is_and_may_only_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            made = re.findall(r"^make ([a-z-]+)", step.get("run", ""), re.MULTILINE)
            assert set(made) <= TARGETS
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_the_matrix_is_what_the_metadata_promises() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    prefix = "Programming Language :: Python :: 3."
    promised = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if c.startswith(prefix)]
    assert matrix["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"
    assert len(matrix["system"]) == 3


def test_torch_is_pinned_to_one_version_wherever_it_is_installed() -> None:
    pins = dict(
        line.split(" ;")[0].strip().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if re.match(r"torch(vision)?==", line)
    )
    for path in [*WORKFLOWS, ROOT / "Dockerfile", ROOT / ".readthedocs.yaml"]:
        for name, version in re.findall(r"(torch(?:vision)?)==([\d.]+)", path.read_text()):
            assert pins[name] == version, path.name


def test_issue_forms_ask_for_something() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for form in (yaml.safe_load(p.read_text()) for p in forms if p.stem != "config"):
        assert form["name"] and form["description"]
        assert any(item.get("validations", {}).get("required") for item in form["body"])
