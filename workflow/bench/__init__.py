"""One job makes one row: tasks, training, timing, memory, provenance and the command line
`pointer-bench`."""
