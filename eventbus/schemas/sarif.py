"""Findings as SARIF 2.1.0, which code hosts show beside the lines that they are about."""

from collections.abc import Sequence
from typing import Any

from eventbus.schemas.review import RULES, Finding

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """One run with a result for each finding."""
    rules = [{"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()]
    driver = {"name": "check_schemas", "informationUri": "https://json-schema.org", "rules": rules}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(each) for each in findings]}],
    }


def _result(finding: Finding) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": "error",
        "message": {"text": told(finding)},
        "properties": finding.as_json(),
    }
    if finding.place is not None:
        file, line = finding.place
        location = {"artifactLocation": {"uri": file, "uriBaseId": "SRCROOT"}, "region": {"startLine": line}}
        result["locations"] = [{"physicalLocation": location}]
    return result


def told(finding: Finding) -> str:
    """A finding in words, a line each for what, why, for whom, and what to do."""
    verdict = f" {finding.verdict}." if finding.verdict else ""
    lines = [f"{finding.event_type} {finding.version}: {RULES[finding.rule]}{verdict}", *finding.reasons]
    if finding.breaks:
        lines.append(f"It breaks {', '.join(finding.breaks)}, and whoever else reads it.")
    return "\n".join([*lines, finding.advice])
