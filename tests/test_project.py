"""The files around the package agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def read_yaml(name: str) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]  # type: ignore[no-any-return]


def test_pre_commit_uses_the_tested_ruff() -> None:
    repos = read_yaml(".pre-commit-config.yaml")["repos"]
    assert isinstance(repos, list)
    assert [repo["rev"] for repo in repos] == [f"v{constraints()['ruff']}"]


def test_the_citation_has_the_version_of_the_package() -> None:
    assert read_yaml("CITATION.cff")["version"] == project()["version"]


def test_the_workflow_runs_what_contributors_run() -> None:
    jobs = read_yaml(".github/workflows/check.yml")["jobs"]
    assert isinstance(jobs, dict)
    assert {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step} == {
        "make check",
        "make demo",
    }
    classifiers = project()["classifiers"]
    assert isinstance(classifiers, list)
    supported = [line.rpartition(" ")[2] for line in classifiers if re.search(r"Python :: 3\.\d+$", line)]
    assert jobs["check"]["strategy"]["matrix"]["python"] == supported


def test_every_direct_dependency_is_pinned() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in constraints()}
    names = set(re.findall(r'"([A-Za-z0-9_.-]+)(?:\[[a-z]+\])?>=', text)) - {"hatchling"}
    assert len(names) > 30
    missing = {name for name in names if re.sub(r"[-_.]+", "-", name).lower() not in pinned}
    assert not missing, f"add these to constraints.txt: {sorted(missing)}"


def test_scipy_and_matplotlib_are_not_in_the_light_install() -> None:
    dependencies = project()["dependencies"]
    assert isinstance(dependencies, list)
    names = {re.split(r"[>=\[]", line)[0] for line in dependencies}
    assert not names & {"scipy", "matplotlib", "torch", "mteb"}
