"""A table in four formats: CSV for machines; Markdown, LaTeX (booktabs) and HTML for people.

Text from rows is untrusted (a model may be called `<script>`): each format escapes all of it here, in one place.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Hashable
from pathlib import Path

import jinja2
import pandas as pd

from workflow.report.latex import latex
from workflow.report.layout import Table, one_line

STAMP = "smoke: not for verdicts"
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$])")


def stamped(title: str, tier: str) -> str:
    """The title, marked where the rows are of the smoke tier."""
    return f"{title} ({STAMP})" if tier == "smoke" else title


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is: punctuation behind a backslash, `<`, `>` and `&` as entities."""
    return html.escape(_MARKDOWN.sub(r"\\\1", one_line(text)), quote=False)


def escape_html(text: object) -> str:
    """Text that a browser shows as it is."""
    return html.escape(one_line(str(text)))


def write(table: Table, out: Path, tier: str = "") -> list[Path]:
    """`out/<name>.{csv,md,tex,html}`; returns the four files."""
    out.mkdir(parents=True, exist_ok=True)
    title = stamped(table.title, tier)
    texts = {
        "csv": table.data.to_csv(index=False),
        "md": markdown(table, title),
        "tex": latex(table, title),
        "html": page(table, title),
    }
    files = [out / f"{table.name}.{suffix}" for suffix in texts]
    for path, text in zip(files, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return files


def markdown(table: Table, title: str) -> str:
    """A GitHub table with its title and notes."""
    body = _escaped(table.wide, escape_markdown).to_markdown(index=False, disable_numparse=True)
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    return f"**{escape_markdown(title)}**\n\n{body}\n\n{notes}\n"


def page(table: Table, title: str) -> str:
    """A small page of its own: no script, nothing loaded."""
    numeric: list[Hashable] = [column for column in table.wide.columns if str(column).isdigit()]
    styler = table.wide.style.hide(axis="index").format(escape_html).format_index(escape_html, axis=1)
    styler = styler.set_properties(subset=numeric, **{"text-align": "right"}) if numeric else styler
    body = styler.set_uuid(table.name).to_html(table_attributes='class="dataframe"')
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("table.html").render(title=title, table=body, notes=table.notes)


def _escaped(wide: pd.DataFrame, escape: Callable[[str], str]) -> pd.DataFrame:
    return wide.map(escape).rename(columns=lambda column: escape(str(column)))
