"""A topology as a picture: text, mermaid, dot, json, or a small svg of our own layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zstream.errors import UsageError
from zstream.topology.graph import Graph
from zstream.topology.plan import Plan

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 170, 44, 50, 24, 16  # pixels


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by index. label: what travels, where it is not everything."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Picture:
    """Boxes in order, inputs first, as (name, label, where), and the arrows between them."""

    title: str
    fingerprint: str
    boxes: tuple[tuple[str, str, str], ...]
    arrows: tuple[Arrow, ...]


def draw(plan: Plan, graph: Graph, form: str) -> str:
    """The picture in a form. Raises UsageError for one that there is not."""
    if form not in FORMS:
        raise UsageError(f"there is no form {form!r}; there are {', '.join(FORMS)}.")
    return FORMS[form](_picture(plan, graph))


def _picture(plan: Plan, graph: Graph) -> Picture:
    index = {node: at for at, node in enumerate(graph.nodes)}
    boxes = tuple((graph.names[node], node.label, node.where) for node in graph.nodes)
    arrows = []
    for node in graph.nodes:
        for entered in node.inputs:
            before = entered.node
            label = ""
            if before.kind == "branch":
                label = "the rest" if entered.port else "passes"
            elif before.kind == "key_by":
                label = "by key"
            elif not node.parallel:
                label = "to one place"
            elif before.kind == "rebalance":
                label = "in turn"
            arrows.append(Arrow(index[before], index[node], label))
    return Picture(plan.topology, plan.fingerprint, boxes, tuple(arrows))


def _text(picture: Picture) -> str:
    lines = [f"{picture.title} {picture.fingerprint}"]
    width = max(len(name) + len(label) for name, label, _ in picture.boxes) + 3
    for at, (name, label, where) in enumerate(picture.boxes):
        to = ", ".join(
            picture.boxes[arrow.end][0] + (f" ({arrow.label})" if arrow.label else "")
            for arrow in picture.arrows
            if arrow.start == at
        )
        line = f"{name} ({label})".ljust(width) + (f"  -> {to}" if to else "")
        lines.append(f"  {line.ljust(width + 30)}  {where}".rstrip())
    return "\n".join(lines)


def _mermaid(picture: Picture) -> str:
    lines = ["flowchart LR"]
    for at, (name, label, _) in enumerate(picture.boxes):
        lines.append(f'  n{at}["{_entities(name)}<br/>{label}"]')
    for arrow in picture.arrows:
        label = f"|{arrow.label}|" if arrow.label else ""
        lines.append(f"  n{arrow.start} -->{label} n{arrow.end}")
    return "\n".join(lines)


def _dot(picture: Picture) -> str:
    lines = [f"digraph {_quoted(picture.title)} {{", "  rankdir=LR;", "  node [shape=box];"]
    for at, (name, label, _) in enumerate(picture.boxes):
        both = _quoted(f"{name}\n{label}")
        lines.append(f"  n{at} [label={both}];")
    for arrow in picture.arrows:
        label = f" [label={_quoted(arrow.label)}]" if arrow.label else ""
        lines.append(f"  n{arrow.start} -> n{arrow.end}{label};")
    return "\n".join([*lines, "}"])


def _json(picture: Picture) -> str:
    value: dict[str, Any] = {
        "topology": picture.title,
        "fingerprint": picture.fingerprint,
        "operators": [
            {"name": name, "kind": label, "where": where} for name, label, where in picture.boxes
        ],
        "edges": [
            {
                "from": picture.boxes[arrow.start][0],
                "to": picture.boxes[arrow.end][0],
                "label": arrow.label,
            }
            for arrow in picture.arrows
        ],
    }
    return json.dumps(value, indent=2)


def _svg(picture: Picture) -> str:
    """Columns by the longest way from a source, rows as they come."""
    columns = _columns(picture)
    rows = [columns[:at].count(column) for at, column in enumerate(columns)]
    width = 2 * MARGIN + (max(columns) + 1) * (BOX_WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + (max(rows) + 1) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    left = [MARGIN + column * (BOX_WIDTH + GAP_X) for column in columns]
    top = [MARGIN + row * (BOX_HEIGHT + GAP_Y) for row in rows]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12">',
        f"<title>{_entities(picture.title)}</title>",
        '<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker>',
    ]
    for arrow in picture.arrows:
        x1, y1 = left[arrow.start] + BOX_WIDTH, top[arrow.start] + BOX_HEIGHT // 2
        x2, y2 = left[arrow.end], top[arrow.end] + BOX_HEIGHT // 2
        bend = GAP_X // 2
        parts.append(
            f'<path d="M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}" fill="none" '
            f'stroke="black" marker-end="url(#head)"><title>{arrow.label}</title></path>'
        )
    for at, (name, label, where) in enumerate(picture.boxes):
        x, y = left[at], top[at]
        parts.append(
            f'<g><title>{_entities(where)}</title><rect x="{x}" y="{y}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="6" fill="white" stroke="black"/>'
            f'<text x="{x + 10}" y="{y + 19}" font-weight="bold">{_entities(name)}</text>'
            f'<text x="{x + 10}" y="{y + 35}" fill="#555">{label}</text></g>'
        )
    return "\n".join([*parts, "</svg>"])


def _columns(picture: Picture) -> list[int]:
    columns = [0] * len(picture.boxes)
    for arrow in sorted(picture.arrows, key=lambda arrow: arrow.end):
        columns[arrow.end] = max(columns[arrow.end], columns[arrow.start] + 1)
    return columns


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _entities(text: str) -> str:
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(mark, entity)
    return text


FORMS: dict[str, Callable[[Picture], str]] = {
    "text": _text,
    "mermaid": _mermaid,
    "dot": _dot,
    "svg": _svg,
    "json": _json,
}
