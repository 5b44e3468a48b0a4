"""A table in LaTeX for print: booktabs rules, blocks under one another, notes below; a longtable if over a page."""

from __future__ import annotations

import pandas as pd

from workflow.report.layout import PAPER_CODE, Table, one_line

PAGE_LINES = 45
PAGE_CHARACTERS = 135  # across an A4 page in this size
SENTENCE = 45  # characters; a longer cell breaks its lines
HEAD = "% needs \\usepackage{array,booktabs,graphicx,longtable}\n"
SMALL = "\\scriptsize"
COLUMN_GAP = "\\setlength{\\tabcolsep}{4pt}"
_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
} | {sign: "\\" + sign for sign in "&%$#_{}"}


def escape_latex(text: object) -> str:
    """Text that LaTeX prints as it is; braces keep a leading bracket from being read as an option of `\\\\`."""
    escaped = "".join(_SIGNS.get(sign, sign) for sign in one_line(str(text)))
    return f"{{{escaped}}}" if escaped.startswith(("[", "*")) else escaped


def latex(table: Table, title: str) -> str:
    """The table with its caption, label and notes."""
    wide = _for_print(table.wide)
    blocks = list(wide.pop("quantity")) if "quantity" in wide else []
    environment = "longtable" if len(wide) > PAGE_LINES or _broken(wide) else None
    styler = wide.style.hide(axis="index").format(escape_latex).format_index(escape_latex, axis=1)
    caption = (escape_latex(title), f"tab:{table.name}") if environment else (None, None)
    body: str = styler.to_latex(
        hrules=True, column_format=_alignment(wide), environment=environment, caption=caption[0], label=caption[1]
    )
    body = _with_blocks(body, blocks, len(wide.columns))
    notes = "\n".join(f"{escape_latex(note)}\\par" for note in (*table.notes, *_left_out(table.wide, wide)))
    if environment:
        size = "\\tiny" if _too_wide(wide) else SMALL
        return f"{HEAD}{{{size}{COLUMN_GAP}\n{body}\\noindent\\raggedright\n{notes}\n}}\n"
    top = f"\\begin{{table}}[htbp]\n\\caption{{{escape_latex(title)}}}\n\\label{{tab:{table.name}}}\n"
    body = f"\\resizebox{{\\linewidth}}{{!}}{{%\n{body.rstrip()}}}\n" if _too_wide(wide) else body
    return f"{HEAD}{top}\\centering{SMALL}{COLUMN_GAP}\n{body}\\par\\smallskip\\raggedright\n{notes}\n\\end{{table}}\n"


def _too_wide(wide: pd.DataFrame) -> bool:
    """Whether the text is wider than a page, columns that break their lines left out."""
    longest = _longest(wide)
    return not _broken(wide) and sum(longest.values()) + 2 * len(longest) > PAGE_CHARACTERS


def _longest(wide: pd.DataFrame) -> dict[str, int]:
    return {str(column): max([len(str(column)), *wide[column].map(len)]) for column in wide}


def _broken(wide: pd.DataFrame) -> dict[str, float]:
    """Columns of sentences, which break their lines, and the fraction of the page that each gets."""
    longest = _longest(wide)
    sentences = {column: min(n, 2 * SENTENCE) for column, n in longest.items() if n > SENTENCE}
    rest = sum(n + 2 for column, n in longest.items() if column not in sentences) / PAGE_CHARACTERS
    return {column: max(0.1, 0.95 - rest) * n / sum(sentences.values()) for column, n in sentences.items()}


def _for_print(wide: pd.DataFrame) -> pd.DataFrame:
    """Without device and dtype where all rows of ours have the same: a page is narrow."""
    if "machine" not in wide:
        return wide
    return wide.drop(
        columns=[column for column in ("device", "dtype") if column in wide and len(_ours(wide, column)) == 1]
    )


def _ours(wide: pd.DataFrame, column: str) -> list[str]:
    return list(wide.loc[wide["machine"] != PAPER_CODE, column].unique())


def _left_out(wide: pd.DataFrame, printed: pd.DataFrame) -> list[str]:
    """A note that says what `_for_print` left out."""
    said = [_ours(wide, column)[0] for column in ("device", "dtype") if column in wide and column not in printed]
    return [f"All rows: {', '.join(said)}."] if said else []


def _with_blocks(body: str, blocks: list[str], columns: int) -> str:
    """Puts the name of a block on a line of its own above the block's first row."""
    start = body.index("\\endlastfoot\n" if "\\endlastfoot" in body else "\\midrule\n")
    lines = body[body.index("\n", start) + 1 :].splitlines(keepends=True)
    marked: list[str] = []
    for number, line in enumerate(lines):
        if number < len(blocks) and (number == 0 or blocks[number] != blocks[number - 1]):
            rule = "\\midrule\n" if number else ""
            marked.append(f"{rule}\\multicolumn{{{columns}}}{{l}}{{\\emph{{{escape_latex(blocks[number])}}}}} \\\\\n")
        marked.append(line)
    return body[: body.index("\n", start) + 1] + "".join(marked)


def _alignment(wide: pd.DataFrame) -> str:
    broken = _broken(wide)
    return "".join(
        f">{{\\raggedright\\arraybackslash}}p{{{broken[column]:.2f}\\linewidth}}"
        if column in broken
        else ("r" if column.isdigit() else "l")
        for column in map(str, wide.columns)
    )
