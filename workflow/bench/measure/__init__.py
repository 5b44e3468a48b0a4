"""Measure one cell: train and score a model, time it, count its work, trace its pointers, check its contract."""
