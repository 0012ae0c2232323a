"""`autolabel status` as a script: ray job submit --working-dir . -- python jobs/status.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["status", *sys.argv[1:]]))
