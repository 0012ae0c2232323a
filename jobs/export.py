"""`autolabel export` as a script: ray job submit --working-dir . -- python jobs/export.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
