"""The results page: one self-contained `index.html`. Text from rows is untrusted: jinja2 escapes it
in HTML, `tojson` in scripts, `plots.shown` in plots."""
