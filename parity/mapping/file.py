"""Mapping files: JSON with a rule per leaf, one a line, that people read and correct.

    {
      "params/fc1/kernel": "fc1.weight: o i -> i o",
      "params/fc1/bias": "fc1.bias",
      "params/attention/query/kernel": {"from": ["attn.in_proj_weight"], "steps": ["take 0 of 3 along 0", "..."]}
    }

Several sources and steps also fit into a string: "SOURCE, SOURCE: STEP; STEP"; "layers.{0..11}.fc.weight" stands for
twelve sources. The older form {key of the state_dict: path of the variable} tells names alone.
"""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import UserError
from data.registry import nearest
from parity.mapping.rule import Rule
from parity.mapping.steps import parse

Shape = tuple[int, ...]
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Given(NamedTuple):
    """What a mapping file says."""

    rules: dict[str, Rule]  # by leaf
    keys: dict[str, str]  # leaf to the tensor that it is made from, by an unknown rule; of the older form


def dump(rules: Mapping[str, Rule]) -> str:
    """Return the text of a mapping file."""
    lines = [f"  {json.dumps(path)}: {json.dumps(_entry(rule))}" for path, rule in rules.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n" if lines else "{}\n"


def read(file: Path, tensors: Mapping[str, Shape], leaves: Mapping[str, Shape]) -> Given:
    """Read a mapping file and check it.

    Args:
        file: of either form.
        tensors: PyTorch's keys to shapes.
        leaves: the JAX model's paths to shapes.

    Raises:
        UserError: it cannot be read, or names what is not there, or a rule cannot be run or makes another shape; all
            faults are listed.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_no_doubles)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: no mapping can be read from it: {error}") from None
    if not isinstance(entries, dict):
        raise UserError(f"{file}: expected {{leaf: rule}}, found {type(entries).__name__}")
    given, faults = _names_alone(entries) if _is_old(entries) else _rules(entries)
    faults += _unknown(given, tensors, leaves)
    if not faults:
        faults += [
            fault for path, rule in given.rules.items() if (fault := _misfit(path, rule, tensors, leaves[path]))
        ]
    if faults:
        raise UserError(f"{file}: {'; '.join(faults)}")
    return given


def parse_rule(text: str) -> Rule:
    """Return the rule of "SOURCE, SOURCE: STEP; STEP".

    Raises:
        UserError: a step is none.
    """
    sources, _, steps = text.partition(":")
    keys = [key for part in sources.split(",") for key in _expanded(part.strip())]
    rule = Rule(tuple(keys), tuple(step.strip() for step in steps.split(";") if step.strip()))
    if not all(keys):
        raise UserError(f"'{text}': expected 'SOURCE: STEP; STEP'")
    for step in rule.steps:
        parse(step)
    return rule


def text_of(rule: Rule) -> str:
    """Return a rule as one line: "fc1.weight: o i -> i o"."""
    sources = ", ".join(_compressed(rule.sources))
    return f"{sources}: {'; '.join(rule.steps)}" if rule.steps else sources


def _entry(rule: Rule) -> str | dict[str, list[str]]:
    if len(_compressed(rule.sources)) == 1 and len(rule.steps) <= 2:
        return text_of(rule)
    return {"from": _compressed(rule.sources), "steps": list(rule.steps)}


def _compressed(sources: tuple[str, ...]) -> list[str]:
    """Return "layers.{0..11}.w" for sources that differ in one number, which counts up."""
    if len(sources) < 3:
        return list(sources)
    parts = [re.split(r"(\d+)", key) for key in sources]
    if len({len(part) for part in parts}) == 1:
        varying = [n for n, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
        if len(varying) == 1 and varying[0] % 2:
            numbers = [part[varying[0]] for part in parts]
            start = int(numbers[0])
            if numbers == [str(start + n) for n in range(len(numbers))]:
                first = parts[0]
                return ["".join([*first[: varying[0]], f"{{{start}..{numbers[-1]}}}", *first[varying[0] + 1 :]])]
    return list(sources)


def _expanded(text: str) -> list[str]:
    found = RANGE.search(text)
    if not found:
        return [text]
    numbers = range(int(found[1]), int(found[2]) + 1)
    return list(itertools.chain(*(_expanded(f"{text[: found.start()]}{n}{text[found.end() :]}") for n in numbers)))


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise UserError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return found


def _is_old(entries: Mapping[str, Any]) -> bool:
    return bool(entries) and all(
        isinstance(value, str) and "/" in value and ":" not in value and "/" not in name
        for name, value in entries.items()
    )


def _names_alone(entries: Mapping[str, str]) -> tuple[Given, list[str]]:
    faults = ["two keys have the same path"] if len(set(entries.values())) < len(entries) else []
    return Given({}, {path: key for key, path in entries.items()}), faults


def _rules(entries: Mapping[str, Any]) -> tuple[Given, list[str]]:
    found, faults = dict[str, Rule](), list[str]()
    for path, entry in entries.items():
        try:
            found[path] = _rule(entry)
        except UserError as error:
            faults.append(f"'{path}': {error}")
    return Given(found, {}), faults


def _rule(entry: Any) -> Rule:
    if isinstance(entry, str):
        return parse_rule(entry)
    match entry:
        case {"from": str() | list() as sources, **rest} if rest.keys() <= {"steps"}:
            steps, keys = rest.get("steps", []), [sources] if isinstance(sources, str) else sources
            if isinstance(steps, list) and all(isinstance(text, str) for text in [*keys, *steps]):
                for step in steps:
                    parse(step)
                return Rule(tuple(key for part in keys for key in _expanded(part)), tuple(steps))
    raise UserError('expected "SOURCE: STEP; STEP" or {"from": [SOURCE, ...], "steps": [STEP, ...]}')


def _unknown(given: Given, tensors: Mapping[str, Shape], leaves: Mapping[str, Shape]) -> list[str]:
    keys = dict.fromkeys([*given.keys.values(), *(key for rule in given.rules.values() for key in rule.sources)])
    faults = [f"PyTorch's module has no '{key}'.{nearest(key, tensors)}" for key in keys if key not in tensors]
    paths = [*given.rules, *given.keys]
    return faults + [f"the JAX model has no '{path}'.{nearest(path, leaves)}" for path in paths if path not in leaves]


def _misfit(path: str, rule: Rule, tensors: Mapping[str, Shape], shape: Shape) -> str:
    try:
        found = rule.shape(tensors)
    except UserError as error:
        return f"'{path}': {error}"
    return "" if found == tuple(shape) else f"'{path}' is {tuple(shape)}, but its rule makes {found}"
