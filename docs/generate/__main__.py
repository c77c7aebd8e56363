"""`python -m docs.generate` writes the generated parts of docs/; with `--check` it says which are stale."""

from __future__ import annotations

import argparse
import sys

from docs.generate import ROOT, stale


def main() -> int:
    """Write, or check; returns the exit code, 1 where a page is stale."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; the exit code is 1 where a page is stale")
    check = parser.parse_args().check
    found = stale()
    for page, text in found.items():
        sys.stdout.write(f"{page.relative_to(ROOT)} {'is stale; run `make docs`' if check else 'written'}\n")
        if not check:
            page.write_text(text, "utf-8")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
