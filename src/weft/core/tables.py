"""Tables of words: aligned plain text for a terminal, self-contained HTML for a notebook, both from the same rows.

A row is a sequence of cells, every cell plain text. Two columns make a list of facts (`what`, `how much`); a wider
table usually has its head in the first row.
"""

import html
from collections.abc import Iterable, Sequence

__all__ = ["html_notes", "html_table", "text_table"]

# Colours and fonts are inherited, so that a table stays readable in a dark notebook; alignment is not, for notebooks
# align cells to the right.
_TABLE = "border-collapse:collapse;margin:.4em 0"
_CAPTION = "caption-side:top;text-align:left;font-weight:bold;padding:.2em 0"
_CELL = "text-align:left;vertical-align:top;padding:.1em 1em .1em 0"


def text_table(rows: Iterable[Sequence[str]], figures: bool = False) -> str:
    """Return rows as lines of plain text, every column as wide as its widest cell and two blanks apart.

    figures: align all columns but the first to the right. All rows have the same number of cells; ValueError otherwise.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if figures and place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, rows))


def html_table(rows: Iterable[Sequence[str]], title: str = "", head: bool = False) -> str:
    """Return rows as an HTML table that needs no style sheet; every cell and the title are escaped.

    head: the first row holds the names of the columns. Without one the first cell of each row is its name.
    """
    rows = list(rows)
    lines = [f'<table style="{_TABLE}">']
    if title:
        lines.append(f'<caption style="{_CAPTION}">{html.escape(title)}</caption>')
    if head:
        lines.append(_html_row(rows[0], names=len(rows[0]), scope="col"))
    lines += [_html_row(row, names=0 if head else 1, scope="row") for row in rows[head:]]
    return "\n".join([*lines, "</table>"])


def html_notes(sentences: Iterable[str]) -> str:
    """Return sentences as HTML paragraphs, escaped."""
    return "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def _html_row(row: Sequence[str], names: int, scope: str) -> str:
    """Return one row whose first `names` cells name what they stand before or above."""
    cells = [
        f'<th scope="{scope}" style="{_CELL}">{html.escape(cell)}</th>'
        if place < names
        else f'<td style="{_CELL}">{html.escape(cell)}</td>'
        for place, cell in enumerate(row)
    ]
    return f"<tr>{''.join(cells)}</tr>"
