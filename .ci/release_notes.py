"""Prints the section of a release in CHANGELOG.md: release_notes.py TAG

Fails if the tag is not `v` followed by the version in Cargo.toml, or if that version has no section with a date and content.
"""

import pathlib
import re
import sys
import tomllib


def notes(tag, cargo, changelog):
    """The text of the section of a tag. `cargo` and `changelog` are the contents of the files."""
    version = tomllib.loads(cargo)["package"]["version"]
    if tag != f"v{version}":
        sys.exit(f"the tag is {tag}, Cargo.toml has the version {version}: tag v{version}, or change the version first")
    heading = re.compile(rf"^## {re.escape(version)} / \d{{4}}-\d\d-\d\d\n", re.M)
    sections = heading.split(changelog)
    if len(sections) != 2:
        sys.exit(f"CHANGELOG.md needs one section for this release; its heading is: ## {version} / YYYY-MM-DD")
    lines = re.split(r"^## ", sections[1], maxsplit=1, flags=re.M)[0].strip()
    if not lines:
        sys.exit(f"the section {version} of CHANGELOG.md is empty")
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(__file__).resolve().parents[1]
    print(notes(sys.argv[1], (root / "Cargo.toml").read_text(), (root / "CHANGELOG.md").read_text()))
