"""The words of CONTRIBUTING.md: what docstrings, comments, messages and names of variables no longer say."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("anodeflow", "analysis", "structures", "workflows", "hpc_templates", "benchmarks")

#: Phrase (a pattern): what to write in its place.
PHRASES = {
    r"\b(go|goes|going|went|gone) on\b(?! (to|one|both|the (disk|face|surface)))": "continue, resume",
    r"(?<!here )\b(is|are|was|were|be|been) no (?!longer\b|more\b|less\b|worse\b|better\b)[a-z]+": "is not a ...",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bdear(er|est)?\b": "expensive",
    r"\banew\b|\bfrom nothing\b": "again, from scratch",
    r"\bwhole or not\b": "atomically",
    r"\bin words\b": "as text",
    r"\bof (its|their|your) own\b(?! [a-z])": "separate",
    r"\bwithout a word\b": "silently",
    r"\bwho (relaxed|computed|computes|wrote|made)\b": "the engine, the program",
}
#: Names that say nothing of what they hold: the name of the type, or of the quantity, in their place.
NAMES = {"who", "made", "found", "bend", "said", "told", "one", "mine", "theirs", "what"}

#: (file, phrase or name): why it stays.
ALLOWED = {
    ("analysis/reference_values.py", "what"): "a key of reference_values.yaml",
    ("workflows/cluster/findings.py", "found"): "a key of hpc doctor --json",
    ("workflows/cluster/healing.py", "what"): "a key of hpc heal --json",
}


def sources() -> list[Path]:
    return [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]


def texts(file: Path):
    """Line and text of every comment and string; line breaks become spaces, so that no phrase hides in one."""
    for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], " ".join(token.string.split())


def names(file: Path):
    """Line and name of every variable and parameter."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


@pytest.mark.parametrize("file", sources(), ids=lambda f: str(f.relative_to(ROOT)))
def test_no_banned_words(file):
    place = str(file.relative_to(ROOT))
    banned = [
        f"{place}:{line}: '{match.group()}', write: {better}"
        for line, text in texts(file)
        for phrase, better in PHRASES.items()
        for match in re.finditer(phrase, text)
        if (place, match.group()) not in ALLOWED
    ]
    banned += [
        f"{place}:{line}: variable '{name}', name it after what it holds"
        for line, name in names(file)
        if name in NAMES and (place, name) not in ALLOWED
    ]
    assert not banned, "\n".join(banned)


def test_the_glossary_says_what_is_banned():
    glossary = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for word in ("continue", "mend", "expensive", "anew", "atomically", "as text", "silently", *sorted(NAMES)):
        assert word in glossary, word


def test_what_is_allowed_exists():
    assert all((ROOT / place).is_file() for place, _ in ALLOWED)
