"""`python -m dferc` is `dferc`."""

from dferc.cli.main import main

main(prog_name="dferc")
