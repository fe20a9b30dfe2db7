"""`python -m dferc` is `dferc`."""

from dferc.cli import main

main(prog_name="dferc")
