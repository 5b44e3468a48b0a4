"""The results page: one self-contained `index.html` to explore every number, row and pointer chain
offline.

`plots`, `explorer` and `cards` turn estimates, traces and judged claims into plain data; `build`
puts that data and the packed scripts of plotly and DataTables (itables' bundle) into
`templates/page.html`. Text from rows is untrusted everywhere: jinja2 escapes it in HTML, `tojson`
in scripts, `plots.shown` in plots."""
