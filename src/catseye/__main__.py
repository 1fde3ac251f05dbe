"""`python -m catseye` is the `catseye` command."""

from catseye.cli import main

main()
