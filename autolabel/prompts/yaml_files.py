"""YAML that people write, read without its traps: no key twice, no depth or merging that exhausts a process."""

from typing import Any

import yaml

from autolabel.errors import BadInput

MAX_DEPTH = 100  # of lists and mappings in a file, which needs 4


def read_yaml(text: str, place: str) -> Any:
    """Return what a YAML file holds; raise BadInput, by `place`, where it is none."""
    try:
        _refuse_traps(text)
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError, LookupError) as error:  # the last two: of a number, a date or a boolean
        raise BadInput(f"{place}: not YAML: {' '.join(str(error).split())}") from error


def _refuse_traps(text: str) -> None:
    """Raise YAMLError for what no such file needs and a few lines of which exhaust a process.

    That is depth, by the stack of the C parser, and merge keys of aliases, by the memory for what they stand for.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise yaml.YAMLError("merge keys (<<) are not read here; write the fields out")


class _UniqueKeys(yaml.CSafeLoader):  # type: ignore[misc]  # untyped, as above
    """Refuses a mapping that names a key twice; YAML itself would keep the last in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, name in enumerate(names):
            if name in names[:index]:
                mark = node.value[index][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is given twice", mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping
