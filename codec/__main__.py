"""`python -m codec`: the command line of `codec.cli`."""

import sys

from codec.cli import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m codec"))
