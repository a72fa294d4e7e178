"""`python -m latentwire`: the command line of `latentwire.cli`."""

import sys

from latentwire.cli import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m latentwire"))
