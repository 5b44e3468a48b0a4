"""A table as CSV for machines; Markdown, LaTeX (booktabs) and HTML for people.

Text from rows is untrusted (a model may be called `<script>`): each format escapes all of it."""

from __future__ import annotations

import html
import re
from pathlib import Path

import jinja2
import pandas as pd

from workflow.report.frame import csv_text
from workflow.report.layout import Table, one_line

STAMP = "smoke: not for verdicts"
POINTS = 3.5  # of a character of LaTeX's \\tiny, digits and most letters
WIDTH, HEIGHT = 345, 550  # points of a page's text, of class article
CAPTIONS = Path(__file__).with_name("captions")
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$])")
_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "–": "--", "…": r"\ldots{}", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$",
} | {sign: "\\" + sign for sign in "&%$#_{}"}  # fmt: skip


def stamped(title: str, tier: str) -> str:
    """Return the title, marked where the rows are of the smoke tier."""
    return f"{title} ({STAMP})" if tier == "smoke" else title


def caption(name: str) -> str:
    """Return the caption of a table or figure as one line; empty where it has none."""
    path = CAPTIONS / f"{name}.rst"
    return one_line(path.read_text("utf-8").replace("``", "")) if path.is_file() else ""


def write(table: Table, out: Path, tier: str = "") -> list[Path]:
    """Write `out/<name>.{csv,md,tex,html}`; return the four files."""
    out.mkdir(parents=True, exist_ok=True)
    title = stamped(table.title, tier)
    texts = {
        "csv": csv_text(table.data),
        "md": markdown(table, title),
        "tex": latex(table, title),
        "html": page(table, title),
    }
    files = [out / f"{table.name}.{suffix}" for suffix in texts]
    for path, text in zip(files, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return files


def escape_markdown(text: object) -> str:
    """Return text that Markdown shows as it is, by backslashes and entities."""
    return html.escape(_MARKDOWN.sub(r"\\\1", one_line(str(text))), quote=False)


def markdown(table: Table, title: str) -> str:
    """Return a GitHub table with its title and notes."""
    wide = table.wide.map(escape_markdown).rename(columns=escape_markdown)
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    body = wide.to_markdown(index=False, disable_numparse=True)
    return f"**{escape_markdown(title)}**\n\n{body}\n\n{notes}\n"


def page(table: Table, title: str) -> str:
    """Return a small page of its own: no script, nothing loaded."""
    template = templates(autoescape=True).get_template("table.html")
    return template.render(title=one_line(title), table=table.wide, notes=table.notes)


def templates(**options: bool) -> jinja2.Environment:
    """Return the report's templates; `options` are jinja2's."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,  # type: ignore[arg-type]
    )


def escape_latex(text: object) -> str:
    """Return text that LaTeX prints as it is; braces keep a bracket from being an option."""
    escaped = "".join(_LATEX.get(sign, sign) for sign in one_line(str(text)))
    return f"{{{escaped}}}" if escaped.startswith(("[", "*")) else escaped


def latex(table: Table, title: str) -> str:
    """Return a longtable with booktabs rules and its notes; on its side where it is too wide."""
    wide = table.wide.rename(columns=lambda column: str(column).replace("_", " "))
    styler = wide.style.hide(axis="index").format(escape_latex).format_index(escape_latex, axis=1)
    columns, sideways = _columns(wide)
    body = styler.to_latex(
        hrules=True,
        environment="longtable",
        column_format=columns,
        caption=escape_latex(title),
        label=f"tab:{table.name}",
    )
    notes = "\n".join(f"{escape_latex(note)}\\par" for note in table.notes)
    content = (
        f"{{\\tiny\\setlength{{\\tabcolsep}}{{3pt}}\n{body}\\noindent\\raggedright\n{notes}\n}}"
    )
    if sideways:
        content = f"\\begin{{landscape}}\n{content}\n\\end{{landscape}}"
    return f"% needs \\usepackage{{array,booktabs,longtable,lscape}}\n{content}\n"


def _columns(wide: pd.DataFrame) -> tuple[str, bool]:
    """Return the alignment of columns, broken between words if too wide, and whether sideways."""
    texts = [[str(column), *wide[column]] for column in wide]
    whole = [POINTS * max(map(len, cells)) for cells in texts]
    words = [POINTS * max(map(len, " ".join(cells).split(" "))) for cells in texts]
    between = 6 * len(texts)
    if sum(whole) + between <= WIDTH:
        return "".join("r" if str(column).isdigit() else "l" for column in wide), False
    sideways = sum(words) + between > WIDTH
    room = (HEIGHT if sideways else WIDTH) - between - sum(words)
    stretch = max(0.0, min(1.0, room / max(1.0, sum(whole) - sum(words))))
    columns = []
    for column, full, least in zip(wide, whole, words, strict=True):
        side = "raggedleft" if str(column).isdigit() else "raggedright"
        width = least + stretch * (full - least)
        columns.append(f">{{\\{side}\\arraybackslash}}p{{{width:.1f}pt}}")
    return "".join(columns), sideways
