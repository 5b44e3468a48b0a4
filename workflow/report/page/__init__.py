"""The results page: one self-contained `index.html` to explore every row, curve and pointer chain offline.

Each module here turns rows, judged claims, tables, figures or traces into plain data; `build` puts that data and the
inlined scripts of plotly and DataTables into `templates/page.html`. Text from rows is untrusted everywhere: jinja2
escapes it in HTML, `tojson` in scripts, `chart.shown` in plots, and a content policy lets no other script run.
"""
