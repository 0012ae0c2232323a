"""The keys of a command, as its dataclass has them: `--help` prints them, and what is typed is checked against them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

WORDS_OF_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list, such as [a, b]",
    dict: "a mapping, such as {a: b}",
    NoneType: "null",
}


PLACES = ("uri", "image_root", "checkpoint")  # names of settings that say where something is


@dataclass(frozen=True, kw_only=True)
class Key:
    """One setting of a command, by its dotted name."""

    name: str
    type: Any
    default: Any
    sentence: str
    example: str | None  # of its values, where it is required

    @property
    def required(self) -> bool:
        return self.example is not None

    @property
    def is_place(self) -> bool:
        return self.name.rpartition(".")[2] in PLACES

    @property
    def options(self) -> tuple[Any, ...]:
        """The types that a value may be of."""
        return get_args(self.type) if isinstance(self.type, UnionType) else (self.type,)

    @property
    def expected(self) -> list[str]:
        """What a value can be, in words: `a whole number`, `null`."""
        return [WORDS_OF_TYPES.get(get_origin(option) or option, "a value") for option in self.options]


def keys_of(schema: type, prefix: str = "") -> Iterator[Key]:
    """Yield every key of a command's dataclass, in its order."""
    for entry in fields(schema):
        if is_dataclass(entry.type):
            yield from keys_of(entry.type, f"{prefix}{entry.name}.")  # type: ignore[arg-type]  # narrowed to a class
        else:
            yield Key(
                name=f"{prefix}{entry.name}",
                type=entry.type,
                default=entry.default_factory() if callable(entry.default_factory) else entry.default,
                sentence=entry.metadata["help"],
                example=entry.metadata["example"],
            )
