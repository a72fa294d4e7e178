"""Writes the software bill of materials of a container image: CycloneDX 1.6, as JSON.

It runs while the image is built, where `cyclonedx-bom` is installed. To the Python packages that `cyclonedx-py` found,
it adds the interpreter, the Debian packages and the models. Equal images have equal bills, without a time or a serial
number.
"""

import argparse
import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def debian_packages(status: str, codename: str) -> list[Component]:
    """Return the installed packages.

    Args:
        status: content of `/var/lib/dpkg/status`.
        codename: of the Debian release, such as "bookworm".
    """
    found = []
    for paragraph in status.split("\n\n"):
        # A line that starts with a space continues the field above it.
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") != "install ok installed":
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}&distro={codename}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


def models(folder: Path) -> list[Component]:
    """Return the models in `folder`, each with the SHA-256 of its files."""
    found = []
    for path in sorted(folder.glob("*/card.json")):
        card = json.loads(path.read_bytes())
        reference = f"model:{card['name']}@{card['model_id']}"
        files = [
            {
                "type": "file",
                "bom-ref": f"{reference}/{each.name}",
                "name": each.name,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(each.read_bytes()).hexdigest()}],
            }
            for each in sorted(path.parent.iterdir())
        ]
        found.append(
            {
                "type": "machine-learning-model",
                "bom-ref": reference,
                "name": card["name"],
                "version": card["model_id"],
                "description": card["description"],
                "components": files,
            }
        )
    return found


def merge(name: str, base_image: str, bills: list[dict[str, Any]], others: list[Component]) -> dict[str, Any]:
    """Return one bill of the image.

    Args:
        name: of the image.
        base_image: what it is built from.
        bills: of Python environments. A package that is in several stands once for each of its versions.
        others: further components.
    """
    components = {each["bom-ref"]: each for each in others}
    dependencies: dict[str, dict[str, Any]] = {}
    for bill in reversed(bills):
        components.update((each["bom-ref"], each) for each in bill.get("components", []))
        dependencies.update((each["ref"], each) for each in bill.get("dependencies", []))
    interpreter = platform.python_version()
    purl = f"pkg:generic/python@{interpreter}"
    components[purl] = {"type": "platform", "bom-ref": purl, "name": "python", "version": interpreter, "purl": purl}
    metadata = {
        **bills[0]["metadata"],
        "component": {
            "type": "container",
            "bom-ref": name,
            "name": name,
            "properties": [{"name": "org.opencontainers.image.base.name", "value": base_image}],
        },
    }
    return {
        **bills[0],
        "metadata": metadata,
        "components": [components[reference] for reference in sorted(components)],
        "dependencies": [dependencies[reference] for reference in sorted(dependencies) if reference in components],
    }


def main() -> int:
    """Write the bill of an image to standard output; return the exit code."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="name of the image")
    parser.add_argument("--base-image", required=True, help="what the image is built from")
    parser.add_argument(
        "--python", nargs="+", type=Path, required=True, help="bills of the image's Python environments"
    )
    parser.add_argument("--dpkg-status", type=Path, default=Path("/var/lib/dpkg/status"))
    parser.add_argument("--models", type=Path, help="folder of models that the image holds")
    arguments = parser.parse_args()
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    others = debian_packages(arguments.dpkg_status.read_text(encoding="utf-8"), codename)
    others += models(arguments.models) if arguments.models else []
    bills = [json.loads(path.read_bytes()) for path in arguments.python]
    text = json.dumps(merge(arguments.image, arguments.base_image, bills, others), indent=1, sort_keys=True)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        print(f"sbom: the bill of {arguments.image} is not valid: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
