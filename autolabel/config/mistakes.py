"""What is wrong with what a person typed after a command, and what to type instead, before Hydra sees any of it.

Hydra's own answers stop at the first problem, are about configurations and grammars, and some lead astray.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autolabel.config.keys import Key
from autolabel.config.overrides import expand_prompts, is_prompt_file, quoted
from autolabel.errors import did_you_mean, quoted_value
from autolabel.redaction import HIDDEN, OPTIONS, without_secrets

TAKEN_OPTIONS = {  # of Hydra's, with the number of their values
    **{"--cfg": 1, "-c": 1, "--config-dir": 1, "-cd": 1, "--config-name": 1, "-cn": 1},
    "--resolve": 0,
}
HYDRAS_OWN = ("hydra.", "hydra/")  # keys that set up Hydra itself
WEIGHTS = (".pt", ".pth", ".safetensors")
SPECIAL_IN_QUOTES = set('"$`\\!')  # to a shell, in double quotes
LISTS = (".csv", ".json", ".txt")  # that people have their prompts in


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What was typed: what Hydra can be given, and what is wrong with the rest."""

    taken: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grammar:
    """What can be typed after a command."""

    command: str
    keys: Mapping[str, Key]  # by name
    groups: Mapping[str, Sequence[str]]  # the choices of each
    schema: DictConfig  # of the keys; takes any value that fits
    command_of: Mapping[str, str]  # for keys of other commands alone, one of these

    def read(self, arguments: Sequence[str]) -> Typed:
        """Return the arguments that can be taken, and a line for each problem of the others."""
        typed, words, waiting = Typed(), list[str](), list(arguments)
        while waiting:
            argument = waiting.pop(0)
            option, equals, _ = argument.partition("=")
            if option in TAKEN_OPTIONS:
                n_values = 0 if equals else TAKEN_OPTIONS[option]
                typed.taken.extend([argument, *waiting[:n_values]])
                del waiting[:n_values]
            elif argument.startswith("-"):
                value = [waiting.pop(0)] if waiting and not equals and is_word(waiting[0]) else []
                typed.problems.append(self._problem_of_option("=".join([argument, *value])))
            elif is_word(argument):
                words.append(argument)
            elif n_more := n_words_of_list(argument, waiting):
                whole = " ".join([argument, *waiting[:n_more]])
                del waiting[:n_more]
                typed.problems.append(f"{option}: the shell takes a list apart at its spaces: {shlex.quote(whole)}")
            elif problems := [without_secrets(problem) for problem in self._problems_of(argument)]:
                typed.problems.extend(problems)
            else:
                typed.taken.append(argument)
        if words:
            typed.problems.append(self._problem_of_words(words, arguments))
        return typed

    def _problem_of_option(self, argument: str) -> str:
        option, _, value = argument.partition("=")
        if name := self._close_to(option.lstrip("-").replace("-", "_")):
            return f"{option}: settings are typed without dashes: {setting(name, value or '...')}"
        return f"{option}: there is no such option; settings are typed key=value"

    def _problem_of_words(self, words: Sequence[str], arguments: Sequence[str]) -> str:
        given = {argument.partition("=")[0] for argument in arguments}
        wanted = [key.name for key in self.keys.values() if key.required and key.name not in given]
        settings = []
        for word in words:
            group = next((group for group, choices in self.groups.items() if word in choices), None)
            if name := group or (wanted.pop(0) if wanted else None):
                settings.append(setting(name, word))
        meant = f"; did you mean {' '.join(settings)}?" if settings else ""
        return f"{', '.join(map(repr, words))}: a setting is typed key=value{meant}"

    def _problems_of(self, override: str) -> Iterator[str]:
        typed, _, value = override.partition("=")
        name = typed.lstrip("+~")
        if name.startswith(HYDRAS_OWN):
            return
        if typed.startswith("~"):
            yield f"{typed}: a key cannot be taken away; where it is left out, it has its default"
        elif typed.startswith("+") and not typed.startswith("++") and (name in self.keys or name in self.groups):
            yield f"{typed}: type it without the +: {setting(name, value)}"
        elif name in self.groups and not value.startswith("{"):
            yield from self._problems_of_choice(name, value)
        else:
            yield from self._problems_of_text(name, value)

    def _problems_of_choice(self, group: str, value: str) -> Iterator[str]:
        choices = self.groups[group]
        chosen = value.strip().strip("'\"")
        if chosen in (*choices, "null"):
            return
        unknown = f"{group}: {chosen!r} is none of {', '.join(choices)}{did_you_mean(chosen, choices)}"
        if group != "prompts":
            weights = f"; weights of your own: model=sam3.1 {setting('model.checkpoint', chosen)}"
            yield unknown + (weights if group == "model" and chosen.endswith(WEIGHTS) else "")
        elif value.strip().startswith("[") or is_prompt_file(chosen):
            _, expanded = expand_prompts([f"{group}={value}"])
            if is_unreadable(expanded):
                quoting = 'quote every phrase of the list, or none: \'prompts=["person", "red car"]\''
                yield f"{group}: {value} has a quote or a bracket without its other half; {quoting}"
        elif chosen.lower().endswith(LISTS):
            lines = "`- person` on a line for each"
            yield f"{group}: a file of prompts is YAML, {chosen.rpartition('.')[0]}.yaml, with {lines}"
        else:
            yield f"{unknown}, and no FILE.yaml; a list of phrases is typed {setting(group, f'[{chosen}]')}"

    def _problems_of_text(self, name: str, text: str) -> Iterator[str]:
        """Yield what is wrong with a value as it was typed."""
        if self._key_of(name) is None and not self._is_section(name):
            yield self._unknown(name, text)
        elif is_unreadable(f"{name}={text}"):
            key = self._key_of(name)
            if key is not None and not {str, Any}.isdisjoint(key.options):
                shown = HIDDEN if OPTIONS in name.split(".") else text
                yield f"{name}: needs quotes of its own: {setting(name, quoted(shown))}"
            else:
                yield self._of_wrong_type(name, text)
        else:
            yield from self._problems_of_value(name, OverridesParser.create().parse_override(f"{name}={text}").value())

    def _problems_of_value(self, name: str, value: Any) -> Iterator[str]:
        """Yield what is wrong with a value, and with those in it where it is a mapping of several keys."""
        if self._is_section(name) and isinstance(value, Mapping):
            for inner, part in value.items():
                yield from self._problems_of_value(f"{name}.{inner}", part)
        elif self._key_of(name) is None:
            yield self._unknown(name, str(value))
        else:
            try:
                OmegaConf.update(deepcopy(self.schema), name, value)
            except OmegaConfBaseException:
                yield self._of_wrong_type(name, value)

    def _of_wrong_type(self, name: str, value: Any) -> str:
        key = self._key_of(name)
        shown = HIDDEN if OPTIONS in name.split(".") else value if isinstance(value, str) else quoted_value(value)
        expected = key.expected if key else ["a mapping"]
        return f"{name}: {shown} is {'neither' if len(expected) > 1 else 'not'} {' nor '.join(expected)}"

    def _unknown(self, name: str, text: str) -> str:
        shown = HIDDEN if any(OPTIONS in part or part in OPTIONS for part in name.split(".")[1:]) else text
        if self._is_section(name):
            first = next(key for key in self.keys if key.startswith(f"{name}."))
            return f"{name}: this is a group of keys; did you mean {setting(first, shown)}?"
        if name in self.command_of:
            return f"{name}: a key of `autolabel {self.command_of[name]}`, and none of `autolabel {self.command}`"
        close = self._close_to(name)
        meant = f"did you mean {setting(close, shown)}?" if close else f"`autolabel {self.command} --help` has them all"
        return f"{name}: there is no such key; {meant}"

    def _close_to(self, name: str) -> str | None:
        """Return the key or group that a name may stand for, if one is close: by its last part, or as a whole."""
        if name in self.keys or name in self.groups:
            return name
        if self._is_section(name):
            return next(key for key in self.keys if key.startswith(f"{name}."))
        if whole := get_close_matches(name, [*self.keys, *self.groups], n=1):
            return whole[0]
        last_parts = {key.rpartition(".")[2]: key for key in reversed([*self.keys])}  # the first of several
        close = get_close_matches(name.rpartition(".")[2], last_parts, n=1)
        return last_parts[close[0]] if close else None

    def _key_of(self, name: str) -> Key | None:
        """Return the key of this name, or that of an entry of a mapping."""
        if name in self.keys:
            return self.keys[name]
        mappings = (key for key in self.keys.values() if get_origin(key.type) is dict)
        owner = next((key for key in mappings if name.startswith(f"{key.name}.")), None)
        return None if owner is None else replace(owner, name=name, type=get_args(owner.type)[1])

    def _is_section(self, name: str) -> bool:
        return any(key.startswith(f"{name}.") for key in self.keys)


def is_word(argument: str) -> bool:
    """Tell whether an argument is neither an option nor a setting."""
    return "=" not in argument and not argument.startswith(("-", "~"))


def n_words_of_list(argument: str, following: Sequence[str]) -> int:
    """Return how many of the following words belong to a list that the shell has taken apart."""
    if "=[" not in argument or argument.endswith("]"):
        return 0
    return next((n for n, word in enumerate(following, start=1) if word.endswith("]")), 0)


def is_unreadable(override: str) -> bool:
    """Tell whether Hydra's grammar has no single value for an override."""
    try:
        return bool(OverridesParser.create().parse_override(override).is_sweep_override())
    except HydraException:
        return True


def setting(name: str, value: str) -> str:
    """Return a setting as it is typed in a shell."""
    typed = f"{name}={value}"
    return f'"{typed}"' if "'" in typed and SPECIAL_IN_QUOTES.isdisjoint(typed) else shlex.quote(typed)
