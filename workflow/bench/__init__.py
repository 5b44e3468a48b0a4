"""One job makes one row: tasks, measurements, provenance and the command line `pointer-bench`."""
