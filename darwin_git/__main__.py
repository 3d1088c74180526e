"""`python -m darwin_git`."""

from darwin_git.cli import main

main()
