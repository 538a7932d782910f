"""Checks what `cargo metadata` says of the dependencies: licences that go with Apache-2.0, and crates.io only.

cargo-deny does this too, but takes longer to build than all the rest of the checks.
"""

import json
import re
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}


def allowed(expression):
    """Whether an SPDX expression can be satisfied: for each AND, one of its ORs. An old slash is an OR."""
    expression = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ")
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|[^()\s]+(?: WITH [^()\s]+)?", expression)

    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = both() or value
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = one() and value
        return value

    def one():
        token = tokens.pop(0)
        if token != "(":
            return token in ALLOWED
        value = either()
        tokens.pop(0)
        return value

    return either()


def main():
    packages = json.load(sys.stdin)["packages"]
    problems = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        source = package["source"]
        if source is not None and not source.startswith("registry+https://github.com/rust-lang/crates.io-index"):
            problems.append(f"{name}: comes from {source}")
        if not package["license"] or not allowed(package["license"]):
            problems.append(f"{name}: licence {package['license']}")
    print(f"{len(packages)} packages looked at")
    if len(packages) < 100:
        problems.append("too few packages: is this the output of cargo metadata?")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    assert allowed("MIT/Apache-2.0") and allowed("(MIT OR GPL-3.0) AND ISC") and not allowed("MIT AND GPL-3.0")
    main()
