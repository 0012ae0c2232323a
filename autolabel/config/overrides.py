"""Overrides as people type them after a command, put as Hydra's grammar takes them."""

import re

OTHER_KINDS = frozenset(  # keys that ask for them, one by one or as a mapping
    {"objects", "objects.uri", "objects.column", "everything", "everything.points_per_side"}
)


def expand_prompts(overrides: list[str]) -> list[str]:
    """Return overrides with `prompts=[person, red car]` as a list of phrases and `prompts=street.yaml` as a file.

    `prompts=street` stays the choice of conf/prompts/street.yaml that Hydra makes of it. Who asks for something else
    than concepts, and says nothing of prompts, does not mean those of the demo.
    """
    names = [override.partition("=")[0].lstrip("+") for override in overrides]
    no_concepts = not OTHER_KINDS.isdisjoint(names) and not any(name.startswith("prompts") for name in names)
    expanded = ["prompts=none"] if no_concepts else []
    for override in overrides:
        name, _, value = override.partition("=")
        value = value.strip()
        path = value.strip("'\"")
        if name == "prompts" and value.startswith("["):
            expanded += ["prompts=none", f"prompts.categories={quoted_phrases(value)}"]
        elif name == "prompts" and is_prompt_file(path):
            expanded += ["prompts=none", f"prompts.uri={quoted(path)}"]
        else:
            expanded.append(override)
    return expanded


def is_prompt_file(path: str) -> bool:
    return path.lower().endswith((".yaml", ".yml"))


def quoted_phrases(value: str) -> str:
    """Return a list of bare phrases with each one quoted: Hydra's grammar takes few characters outside quotes.

    A list that has quotes or mappings of its own is left to that grammar.
    """
    phrases = [phrase.strip() for phrase in value.removeprefix("[").removesuffix("]").split(",")]
    if re.search(r'["{}\[\]]', value[1:-1]) or any(phrase.startswith("'") for phrase in phrases):
        return value
    return "[]" if phrases == [""] else f"[{','.join(map(quoted, phrases))}]"


def quoted(text: str) -> str:
    """Return text as Hydra's grammar quotes it: a quote is escaped, and so are the backslashes right before one."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text)
    return f"'{escaped}'"
