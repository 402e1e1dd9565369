"""LoRA Studio: without arguments the app, else the command line (`python studio.py --help`)."""

import sys

from studio.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
