"""The page's scripts and styles, inlined: plotly and DataTables from their Python packages, and our own small ones.

The content policy names the hash of each script, so that no other runs, and forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
OWN = ("theme.js", "charts.js", "tables.js", "arcs.js", "explorer.js", "page.js")


@dataclass(frozen=True)
class Library:
    """A library's script with where its licence stands."""

    name: str
    script: str
    style: str = ""


def plotly() -> Library:
    """Draws the charts."""
    from plotly.offline import get_plotlyjs

    return Library("plotly.js", _unix(str(get_plotlyjs())))


def datatables() -> Library:
    """Sorts, filters and exports the tables: itables' offline bundle, an ES module that exports DataTable."""
    from itables import options

    bundle = Path(str(options.dt_bundle))
    return Library("DataTables", _read(bundle), _read(bundle.with_suffix(".css")))


def own_script() -> str:
    """The page's own code, one script that sees nothing of the global scope but Plotly."""
    parts = "\n".join(_read(TEMPLATES / name) for name in OWN)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def own_style() -> str:
    """The page's own rules."""
    return _read(TEMPLATES / "page.css")


def policy(*scripts: str) -> str:
    """The content policy: these scripts and modules that they make (blob:), no request to anywhere."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes} blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )


def inline(script: str) -> str:
    """The text of a script or style, ours or a library's. Raises ValueError where it would end its own element."""
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("a script that holds </script or <!-- cannot be inlined")
    return script


def _read(path: Path) -> str:
    return _unix(path.read_text(encoding="utf-8"))


def _unix(text: str) -> str:
    """A browser turns line ends into \\n before it hashes a script."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
