"""`python -m chio_fast.cli` is `chio-fast`."""

from chio_fast.cli import main

main()
