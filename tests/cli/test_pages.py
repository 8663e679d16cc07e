"""What the pages say about the command line: commands and options that exist, and all of them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from ncollapse.cli.app import build
from tests.cli.test_door import LEAVES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "tutorials").glob("*.md"))
REFERENCE = (ROOT / "docs" / "cli.md").read_text("utf-8")
TOP = {name for param in build().params for name in (*param.opts, "-h", "--help")}
# A line of a block of no language, with what follows it after two blanks or a hash, and `…` inline.
BLOCK = re.compile(r"```(?:bash|console|sh)?\n(.*?)```", re.S)
LINE = re.compile(r"^\s*(?:\$ )?((?:torchrun [^\n]*?-m )?ncollapse\b[^\n]*)", re.M)
INLINE = re.compile(r"`(ncollapse [^`]+)`")
LANGUAGE = re.compile(r"```(?:\{|python|toml|json|yaml|latex|text)[^`]*```", re.S)


def calls(text: str) -> list[str]:
    """Command lines of a page."""
    lines = [
        found
        for block in BLOCK.findall(LANGUAGE.sub("", text))
        for found in LINE.findall(block.replace("\\\n", " "))
    ]
    flat = [" ".join(found.split()) for found in INLINE.findall(LANGUAGE.sub("", text))]
    return [re.split(r"\s{2,}|\s#", line)[0] for line in lines] + flat


CALLS = [(page.name, line) for page in PAGES for line in calls(page.read_text("utf-8"))]


def options_of(command) -> set[str]:
    both = ((*param.opts, *param.secondary_opts) for param in command.params)
    return {name for names in both for name in names} | {"-h", "--help"}


@pytest.mark.parametrize("name", sorted({name for name, _ in CALLS}))
def test_command_lines_of_pages_exist(name: str) -> None:
    for page, line in CALLS:
        if page != name:
            continue
        words = shlex.split(line)
        words = words[words.index("ncollapse") + 1 :]
        paths = [p for p in LEAVES if words[: len(p.split())] == p.split()]
        known = options_of(LEAVES[max(paths, key=len)]) if paths else TOP
        assert paths or not words or words[0] in (*TOP, "study"), line
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in known, f"{line}: {word}"


def test_pages_are_read() -> None:
    assert len(CALLS) > 60
    assert calls("```\nncollapse demo   learn\n```") == ["ncollapse demo"]
    assert calls("```python\nncollapse = 1\n```") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_in_sentences_exist(page: Path) -> None:
    """`--option`, alone in backticks, is one of some command."""
    there = TOP.union({"--peer"}, *map(options_of, LEAVES.values()))  # That of the benchmarks.
    for name in re.findall(r"`(--[a-z][a-z-]*)`", page.read_text("utf-8")):
        assert name in there, name


def test_the_reference_holds_every_command_and_option() -> None:
    sections = re.findall(r"^### (.+)\n\n```\{command-options\} (.+)\n```$", REFERENCE, re.M)
    assert [title for title, _ in sections] == [name for _, name in sections]
    assert {name for _, name in sections} == set(LEAVES)
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        from commands import commands, lines_of
    finally:
        sys.path.pop(0)
    assert dict(commands()).keys() == LEAVES.keys()
    for name, command in LEAVES.items():
        lines = lines_of(command)
        said = {lines[i].split("`")[1]: lines[i + 1] for i in range(len(lines)) if "`-" in lines[i]}
        for param in command.params:
            if param.param_type_name == "option" and not param.hidden:
                assert len(said[param.opts[0]]) > 8, (name, param.opts)
    text = "\n".join(lines_of(LEAVES["measure"]))
    assert "[" not in text.replace("\\[", "") and "Default 2e9." in text


def test_the_first_screen_names_every_command() -> None:
    first = REFERENCE.split("```")[1]
    assert all(re.search(rf"^ncollapse {name}\b", first, re.M) for name in LEAVES)


def test_how_to_sections_name_what_a_user_needs() -> None:
    """Outside of the reference."""
    prose = REFERENCE.split("## Every option")[0]
    for option in (
        "--features-key", "--labels-key", "--labels", "--dry-run", "--config", "--old", "--attack",
        "--forgotten", "--ood", "--transfer", "--laws", "--answer", "--keep", "--landscape",
        "--install-completion", "--debug", "--json",
    ):  # fmt: skip
        assert option in prose, option
