"""`python -m imgrank` is `imgrank`."""

from imgrank.cli import main

main()
