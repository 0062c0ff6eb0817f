"""Quantities and tables as people read them."""

from __future__ import annotations

import html

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def size_text(size_bytes: int) -> str:
    """Return a size like "2.0 MB" (1000 kB are a MB); below 1000 bytes "17 B"."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size, units = size_bytes / 1000, ["TB", "GB", "MB", "kB"]
    while size >= 999.95 and len(units) > 1:
        size /= 1000
        units.pop()
    return f"{size:.1f} {units[-1]}"


def count_text(count: int, what: str) -> str:
    """Return "1 task", "2 tasks"."""
    return f"{count} {what}{'s' * (count != 1)}"


def seconds_text(seconds: float) -> str:
    """Return a duration like "1.3 ms", "2.5 s", "4:07 min" or "2:30:00 h"."""
    if seconds < 0.9995:
        for factor, unit in ((1e6, "us"), (1e3, "ms")):
            if seconds * factor < 999.5:
                return f"{seconds * factor:.3g} {unit}" if seconds else "0 s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02} h"


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], flush_left: int = 1) -> str:
    """Return lines; the first columns are flush left, the others flush right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < flush_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with everything escaped."""
    parts = ["<table><thead><tr>"]
    parts += [f"<th>{html.escape(cell)}</th>" for cell in header]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        parts.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


def html_card(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return names and values below a title, everything escaped."""
    return f"<b>{html.escape(title)}</b>" + "".join(
        ["<table>"]
        + [
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in rows
        ]
        + ["</table>"]
    )
