"""Measure a cell: train and score, time, count work, trace pointers, check the contract."""
