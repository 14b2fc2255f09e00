"""Draw docs/architecture.svg from the imports of the code: ``python docs/draw_architecture.py``.

Rooms are boxes in layers, from the ground up; an arrow goes from a room to one that it imports from, imports inside
functions included. Where a way over other rooms leads to the same one, the direct arrow is left out of the picture. A
test compares the picture with the code.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("anodeflow", "structures", "analysis", "workflows", "hpc_templates")

#: Layers from the top of the house to its ground; in each the rooms, by the start of their modules' names.
LAYERS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("command line", "anodeflow.cli"),),
    (
        ("report", "anodeflow.report"),
        ("local", "anodeflow.workflows.local"),
        ("cluster", "anodeflow.workflows.cluster"),
        ("tuning", "anodeflow.workflows.tuning"),
    ),
    (("studies", "anodeflow.workflows.studies"),),
    (("jobs", "anodeflow.workflows.jobs"),),
    (("engines by name", "anodeflow.workflows.engines.registry"),),
    (
        ("vasp", "anodeflow.workflows.engines.vasp"),
        ("castep", "anodeflow.workflows.engines.castep"),
        ("espresso", "anodeflow.workflows.engines.espresso"),
        ("gpaw", "anodeflow.workflows.engines.gpaw"),
        ("potentials", "anodeflow.workflows.engines.potentials"),
        ("store", "anodeflow.workflows.store"),
    ),
    (("engine base", "anodeflow.workflows.engines"),),
    (
        ("motion", "anodeflow.workflows.engines.motion"),
        ("plane_waves", "anodeflow.workflows.engines.plane_waves"),
    ),
    (
        ("contract", "anodeflow.workflows.engines.contract"),
        ("external", "anodeflow.workflows.engines.external"),
    ),
    (("cards, monitor", "anodeflow.workflows"),),
    (("figures", "anodeflow.analysis.figures"), ("hpc_templates", "anodeflow.hpc_templates")),
    (("analysis", "anodeflow.analysis"), ("structures", "anodeflow.structures")),
    (("ground: errors, documents, settings, files, units", "anodeflow"),),
)
ROOMS = {prefix: name for layer in LAYERS for name, prefix in layer} | {"anodeflow.__main__": "command line"}

WIDTH, ROW, BOX = 960, 78, 34


def module_name(file: Path) -> str:
    """Name a file is imported by."""
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == "anodeflow" else ["anodeflow", *parts])


def modules() -> dict[str, Path]:
    """Every module of the project."""
    return {module_name(f): f for folder in FOLDERS for f in sorted((ROOT / folder).rglob("*.py"))}


def imports_of(file: Path, known: dict[str, Path], *, types: bool = True) -> set[str]:
    """Modules of the project that a file imports from, at its top or inside functions.

    Parameters
    ----------
    file
        A source file.
    known
        From :func:`modules`.
    types
        Count imports under ``if TYPE_CHECKING``, which never run, too.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and not types and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(whole & known.keys())
            if not whole <= known.keys():
                found.add(node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return {name for name in found if name in known}


def room_of(module: str) -> str:
    """Room that a module belongs to: that of the longest prefix."""
    prefix = max((p for p in ROOMS if module == p or module.startswith(f"{p}.")), key=len)
    return ROOMS[prefix]


def arrows() -> set[tuple[str, str]]:
    """Pairs (room, room it imports from)."""
    known = modules()
    pairs = {(room_of(name), room_of(other)) for name, file in known.items() for other in imports_of(file, known)}
    return {(a, b) for a, b in pairs if a != b}


def drawn_arrows() -> set[tuple[str, str]]:
    """Arrows without those that a way over other rooms makes superfluous."""
    pairs = arrows()
    below: dict[str, set[str]] = {name: {b for a, b in pairs if a == name} for name in ROOMS.values()}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        fresh = below[start] - seen
        return goal in fresh or any(reaches(room, goal, seen | fresh) for room in fresh)

    return {(a, b) for a, b in pairs if not any(reaches(room, b, {a}) for room in below[a] - {b})}


def circles() -> list[list[str]]:
    """Groups of modules that import each other in a circle (Tarjan), imports inside functions included."""
    known = modules()
    graph = {name: sorted(imports_of(file, known, types=False)) for name, file in known.items()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def connect(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                connect(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while True:
                group.append(stack.pop())
                if group[-1] == name:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            connect(name)
    return sorted(found)


def layer_of(room: str) -> int:
    """Height of a room: 0 at the top."""
    return next(n for n, layer in enumerate(LAYERS) if room in [name for name, _ in layer])


def picture() -> str:
    """Draw the rooms as SVG text."""
    places: dict[str, tuple[float, float, float]] = {}
    for number, layer in enumerate(LAYERS):
        widths = [max(92, 9 * len(name) + 22) for name, _ in layer]
        space = (WIDTH - sum(widths)) / (len(layer) + 1)
        x = space
        for (name, _), width in zip(layer, widths, strict=True):
            places[name] = (x, 16 + number * ROW, width)
            x += width + space
    height = 16 + len(LAYERS) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="sans-serif" font-size="15">',
        "<title>Rooms of anodeflow and what each imports</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#557"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for a, b in sorted(drawn_arrows()):
        (x1, y1, w1), (x2, y2, w2) = places[a], places[b]
        begin, end = x1 + w1 / 2, x2 + w2 / 2
        # arrows leave and enter where the straight line between the middles would, within the box
        out = max(-w1 / 2 + 12, min(w1 / 2 - 12, (end - begin) * 0.12))
        into = max(-w2 / 2 + 12, min(w2 / 2 - 12, (begin - end) * 0.12))
        top, bottom = (y1 + BOX, y2) if layer_of(b) > layer_of(a) else (y1, y2 + BOX)
        bend = (bottom - top) / 2
        lines.append(
            f'<path d="M{begin + out:.0f} {top} C{begin + out:.0f} {top + bend:.0f} {end + into:.0f} '
            f'{bottom - bend:.0f} {end + into:.0f} {bottom}" fill="none" stroke="#557" stroke-width="1.3" '
            'marker-end="url(#tip)"/>'
        )
    for name, (x, y, width) in places.items():
        lines.append(
            f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="5" fill="#eef3fa" stroke="#246"/>'
            f'<text x="{x + width / 2:.0f}" y="{y + 22}" text-anchor="middle" fill="#123">{escape(name)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    (ROOT / "docs" / "architecture.svg").write_text(picture(), encoding="utf-8")
