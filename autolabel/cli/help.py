"""What `autolabel --help` prints, and `autolabel <command> --help`: every key with its default and its sentence."""

from typing import Any

from autolabel.config.compose import grammar_of, groups_of
from autolabel.config.keys import Key

USAGE = """\
usage: autolabel <command> [key=value ...]

  label        label the images of input.uri with the concepts of prompts, into output.uri
  status       say how far the job of output.uri is, how fast it goes, and who is at work on it
  verify       check every promise about the labels in output.uri
  refine       label refined.uri by other thresholds and limits from what output.uri holds, without the model
  export       write the labels in output.uri in another format
  evaluate     measure the labels in output.uri against a ground truth, and find better thresholds
  report       rank the images of output.uri by doubt, and show its labels as a page for a browser
  submit       run one of these commands on the Ray cluster of RAY_API_SERVER_ADDRESS: autolabel submit label ...
  demo-scenes  draw images to try it on, with their ground truth, into output.uri

for example: autolabel label input.uri=photos output.uri=labels 'prompts=[person, red car]' model=sam3

autolabel <command> --help explains every key of a command; --cfg job prints what it would run with.
"""

SUBMIT_USAGE = """\
usage: autolabel submit <command> [key=value ...]

Run a command as a job of a Ray cluster, and follow it from here to its end:

  export RAY_API_SERVER_ADDRESS=http://<head>:8265
  autolabel submit label input.uri=s3://bucket/photos output.uri=s3://bucket/labels model=sam3.1 cluster=ray

This package goes along, and the files of prompts.uri, exemplars.uri and objects.uri; what they need must be in the
cluster's image. Everything else must be a URL, or a path that all nodes share. Ctrl-C asks whether the job shall stop,
too; without a terminal it goes on. The exit code is the command's.
"""


def help_text(command: str) -> str:
    """Return the help of a command: the choices of its groups, then every key with its default and its sentence."""
    grammar, chosen = grammar_of(command), groups_of(command)
    required = [f"{key.name}={key.example}" for key in grammar.keys.values() if key.required]
    lines = [f"usage: {' '.join(['autolabel', command, *required, '[key=value ...]'])}", ""]
    for group, choices in grammar.groups.items():
        lines.append(f"  {group}={'|'.join(choices)}  ({chosen[group]} by default)")
    if "prompts" in grammar.groups:
        lines += ["  'prompts=[person, red car]'", "  prompts=FILE.yaml"]
    lines += [""] if grammar.groups else []
    for key in grammar.keys.values():
        lines += [f"  {key_line(key)}", f"      {key.sentence}"]
    return "\n".join(lines) + "\n"


def key_line(key: Key) -> str:
    return f"{key.name}=...  (required)" if key.required else f"{key.name}={default_text(key.default)}"


def default_text(default: Any) -> str:
    match default:
        case None:
            return "null"
        case bool():
            return str(default).lower()
        case list():
            return f"[{','.join(map(str, default))}]"
    return str(default)
