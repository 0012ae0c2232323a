"""`autolabel verify` as a script: ray job submit --working-dir . -- python jobs/verify.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["verify", *sys.argv[1:]]))
