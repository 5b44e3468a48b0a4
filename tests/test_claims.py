"""Verdicts: each rule and each word from synthetic cells and rows, the ledger's checks, its table
and figure."""
