"""The reproduction pipeline: `workflow.bench` makes rows, `workflow.report` reads them."""
