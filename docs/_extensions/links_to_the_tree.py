"""Links of the pages that lead out of ``docs/``: they work in the source tree, and here lead to the page of the site.

The pages are read in two places, the repository and the site. A link to a Markdown file above ``docs/`` becomes one to
its page here; to another file, a download; to a folder, its name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)([^)#\s]*)\)")
#: Markdown files of the tree, and the page that shows each.
PAGES = {
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changes",
    "README.md": "index",
    "benchmarks/README.md": "benchmarks",
}


def links_of_the_site(text: str, docname: str, source: Path) -> str:
    """Return the text of a page with its links out of ``docs/`` replaced.

    Parameters
    ----------
    text
        What the file of the page holds.
    docname
        Its name in the site, such as ``tutorials/own-cif``.
    source
        The folder ``docs/``.
    """
    depth = docname.count("/")

    def replaced(match: re.Match[str]) -> str:
        shown, up, target = match.groups()
        if up.count("../") != depth + 1:
            return match[0]
        if target in PAGES:
            return f"[{shown}]({'../' * depth}{PAGES[target]}.md)"
        path = source.parent / target
        if path.is_file():
            return match[0]
        if path.is_dir():
            return shown if shown.startswith("`") else f"`{shown}`"
        raise ValueError(f"{docname}: no '{target}' in the tree")

    return _LINK.sub(replaced, text)


def _on_source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = links_of_the_site(source[0], docname, Path(app.srcdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """See Sphinx."""
    app.connect("source-read", _on_source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
