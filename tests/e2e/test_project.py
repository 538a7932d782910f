"""Workflows, release notes, the archive, and links in documents."""

import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import unittest

from support import EXPORTER, ROOT, VENVS, Case

NAME = "qumulo-encryption-exporter"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SECURITY = ROOT / "SECURITY.md"
# Documents with links. Runbooks and the changelog have none.
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", SECURITY, *(ROOT / "docs").glob("*.md"),
             *(path for folder in ("benches", "dashboards", "deploy") for path in (ROOT / folder).rglob("README.md"))]


class Workflows(Case):
    def test_actions_are_pinned(self):
        """Tags can be moved, commits cannot. Readers and Dependabot need the version in the comment."""
        pins = {}
        for path in WORKFLOWS:
            for used, comment in re.findall(r"uses: (\S+)(.*)", path.read_text()):
                if used.startswith("./"):
                    self.assertTrue((ROOT / used).is_file(), used)
                    continue
                self.assertRegex(used, r"^[\w-]+/[\w/-]+@[0-9a-f]{40}$")
                self.assertRegex(comment, r"^ # v\d+\.\d+\.\d+$", used)
                action, commit = used.split("@")
                self.assertEqual(pins.setdefault(action, commit), commit, "one version of an action")
        self.assertGreater(len(pins), 3)

    def test_default_permissions_are_read_only(self):
        for path in WORKFLOWS:
            self.assertTrue("\npermissions:\n  contents: read\n\n" in path.read_text(), path)

    def test_other_files_for_github_are_valid(self):
        for schema, path in (("dependabot", "dependabot.yml"), ("github-issue-forms", "ISSUE_TEMPLATE/bug.yml")):
            command = [VENVS / "deploy/bin/check-jsonschema", "--builtin-schema", f"vendor.{schema}", ROOT / ".github" / path]
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout)


class Release(Case):
    def notes(self, tag, changelog):
        """Exit status and output of release_notes.py, for the version of this project."""
        (self.folder / ".ci").mkdir(exist_ok=True)
        shutil.copy(ROOT / ".ci/release_notes.py", self.folder / ".ci")
        shutil.copy(ROOT / "Cargo.toml", self.folder)
        (self.folder / "CHANGELOG.md").write_text(changelog)
        done = subprocess.run([sys.executable, self.folder / ".ci/release_notes.py", tag], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def test_a_tag_without_its_version_or_its_section_is_refused(self):
        heading = f"## {VERSION} / 2027-01-31\n"
        lines = "* [CHANGE] one\n  and more\n* two\n"
        good = f"# Changelog\n\n## Unreleased\n\n* later\n\n{heading}\n{lines}\n## 0.0.9 / 2026-01-01\n\n* old\n"
        self.assertEqual(self.notes(f"v{VERSION}", good), (0, lines))
        last = good.split("## 0.0.9")[0]
        self.assertEqual(self.notes(f"v{VERSION}", last)[0], 0, "the last section")
        for tag, changelog, words in (
            ("v999.0.0", good, f"Cargo.toml has the version {VERSION}"),
            (VERSION, good, f"tag v{VERSION}"),
            (f"v{VERSION}-rc.1", good, f"tag v{VERSION}"),
            (f"v{VERSION}", good.replace(heading, "## 9.9.9 / 2027-01-31\n"), "needs one section"),
            (f"v{VERSION}", good.replace(heading, heading.replace(".", "x")), "needs one section"),
            (f"v{VERSION}", good.replace(heading, f"## {VERSION}\n"), "needs one section"),
            (f"v{VERSION}", good.replace("0.0.9 / 2026-01-01", heading[3:-1]), "needs one section"),
            (f"v{VERSION}", good.replace(lines, ""), "is empty"),
        ):
            code, output = self.notes(tag, changelog)
            self.assertEqual((code, words in output), (1, True), f"{tag}: {output}")

    def test_the_archive_is_complete_and_reproducible(self):
        built = []
        for folder in (self.folder / "one", self.folder / "two"):
            folder.mkdir()
            subprocess.run([ROOT / "deploy/archive/build", EXPORTER, folder], check=True)
            built += folder.iterdir()
        self.assertTrue(built[0].read_bytes() == built[1].read_bytes(), "the same bytes")
        self.assertRegex(built[0].name, rf"^{NAME}-{re.escape(VERSION)}\.linux-(amd64|arm64)\.tar\.gz$")
        subprocess.run(["tar", "--extract", "--file", built[0], "--directory", self.folder], check=True)
        root = self.folder / built[0].name.removesuffix(".tar.gz")
        run = lambda program: subprocess.run([program, "--version"], check=True, capture_output=True).stdout
        self.assertEqual(run(root / NAME), run(EXPORTER))
        files = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
        for pattern in ("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", f"deploy/example/{NAME}.yml",
                        "deploy/package/*.txt", "deploy/*.schema.json", "deploy/systemd/*", "deploy/podman/*", "deploy/prometheus/*.yml", "deploy/alertmanager/*.yml",
                        "dashboards/*.json", "deploy/runbooks/*.md"):
            folder = pathlib.Path(pattern).parent.name
            folder = "" if folder in ("deploy", "example", "package") else folder
            sources = list(ROOT.glob(pattern))
            self.assertTrue(sources, pattern)
            for source in sources:
                files.remove(pathlib.Path(folder) / source.name)
        self.assertEqual(files, {pathlib.Path(NAME)}, "nothing else")


class Documents(Case):
    def anchors(self, path):
        titles = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
        return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}

    def test_links_and_paths_exist(self):
        for document in DOCUMENTS:
            text, name = document.read_text(), document.relative_to(ROOT)
            for link in re.findall(r"\]\(([^)\s]+)\)", text):
                # The releases are a page on GitHub, not a file of the repository.
                if "://" in link or link == "../../releases":
                    continue
                path, _, anchor = link.partition("#")
                target = document.parent / path if path else document
                self.assertTrue(target.exists(), f"{name}: {link}")
                if anchor:
                    self.assertIn(anchor, self.anchors(target), f"{name}: {link}")
            for path in re.findall(r"`((?:\.ci|\.github|src|simulator|tests|deploy|dashboards|docs)/[\w./-]+)[` ]", text):
                self.assertTrue("NAME" in path or (ROOT / path).exists(), f"{name}: {path}")

    def test_every_page_is_reached_from_the_readme(self):
        seen, todo = set(), [ROOT / "README.md"]
        while todo:
            page = todo.pop()
            if page in seen or page.suffix != ".md":
                continue
            seen.add(page)
            links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
            todo += [(page.parent / link).resolve() for link in links if "://" not in link]
        self.assertEqual(set(DOCUMENTS) - seen, set())

    def test_tests_named_in_security_exist(self):
        text = SECURITY.read_text()
        named = [pair for pair in re.findall(r"`(\w+/[\w/]+)::(\w+)`", text) if pair[1] != "NAME"]
        self.assertGreater(len(named), 60)
        for place, name in named:
            folder, rest = place.split("/", 1)
            path = ROOT / {"e2e": f"tests/e2e/{rest}.py", "it": f"tests/it/{rest}.rs", "src": f"src/{rest}.rs"}[folder]
            self.assertTrue(re.search(rf"\b(fn|def) {name}\(", path.read_text()), f"{place}::{name}")


if __name__ == "__main__":
    unittest.main()
