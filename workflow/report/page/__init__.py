"""The results page: one self-contained `index.html` to explore every number, row and pointer chain
offline.

`plots` and `explorer` turn estimates and traces into plain data; `build` adds the verdict cards and
puts the data and the packed scripts of plotly and DataTables (itables' bundle) into
`templates/page.html`. Text from rows is untrusted everywhere: jinja2 escapes it in HTML, `tojson`
in scripts, `plots.shown` in plots."""
