"""`python -m liveblog`."""

from liveblog.cli import main

main()
