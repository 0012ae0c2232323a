"""`autolabel report` as a script: ray job submit --working-dir . -- python jobs/report.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
