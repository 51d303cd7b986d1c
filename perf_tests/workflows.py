"""What the workflows run, read as text: the suite depends on no YAML parser."""

import re
from collections.abc import Iterator

from perf_tests.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def run_blocks(text: str) -> Iterator[str]:
    """The shell of each ``run:``, of one line or of an indented block."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if not (found := re.match(r"( *(?:- )?)run:(.*)", line)):
            continue
        column = len(found[1])
        rest = [found[2]]
        for following in lines[i + 1 :]:
            if following.strip() and len(following) - len(following.lstrip()) <= column:
                break
            rest.append(following)
        yield "\n".join(rest)
