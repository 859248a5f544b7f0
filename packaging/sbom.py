"""Lists the Python packages of a site-packages folder as a CycloneDX 1.6 bill of materials."""

from __future__ import annotations

import json
import re
from email.parser import HeaderParser
from pathlib import Path
from typing import Any


def bill(site_packages: Path) -> str:
    """Return the JSON: smsbridge as the subject, and every other package as a component of it.

    The same packages give the same text: there is no serial number and no time in it.
    """
    found = sorted(
        (_component(each) for each in site_packages.glob("*.dist-info/METADATA")),
        key=lambda each: each["bom-ref"],
    )
    (subject,) = (each for each in found if each["name"] == "smsbridge")
    others = [each for each in found if each is not subject]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**subject, "type": "application"}},
        "components": others,
        "dependencies": [
            {"ref": subject["bom-ref"], "dependsOn": [each["bom-ref"] for each in others]}
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _component(path: Path) -> dict[str, Any]:
    metadata = HeaderParser().parsestr(path.read_text(encoding="utf-8"))
    name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    purl = f"pkg:pypi/{name}@{metadata['Version']}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": metadata["Version"],
        "purl": purl,
    }
    license_ = _license(metadata.get("License-Expression"), metadata.get("License"))
    if not license_:
        classifiers = metadata.get_all("Classifier") or []
        named = [each for each in classifiers if each.startswith("License ::")]
        license_ = [{"license": {"name": each.rpartition(" :: ")[2]}} for each in named]
    return component | ({"licenses": license_} if license_ else {})


def _license(expression: str | None, text: str | None) -> list[dict[str, Any]]:
    if expression:
        return [{"expression": expression}]
    # Some packages put the license's whole text into this field.
    if text and "\n" not in text and len(text) <= 80:
        return [{"license": {"name": text}}]
    return []
