"""The proof of the ledger: `make prove` runs every part at its full size, the default tests a small share of each.

`parts.py` is the table of parts, `part.py` says what one is, `full.py` runs all of them and goes on where it stopped.
"""
