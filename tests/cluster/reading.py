"""How the tests of this folder read the files of cluster/ and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import yaml

FOLDER = Path("cluster")
PAGES = ["", "aws", "gcp", "kubernetes", "mlflow", "slurm"]
SCRIPT = re.compile(r"^bash (cluster/\S+\.sh)$", re.MULTILINE)
COMMENT = re.compile(r"(^|\s)#.*")
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
# What may stand before a program: a keyword of the shell, a variable for this call.
BEFORE = re.compile(r"(do|if|then|until|while|\w+=.*)$")


def page(folder: str = "") -> str:
    """The README of a folder of cluster/, or of cluster/ itself."""
    return (FOLDER / folder / "README.md").read_text()


def shell(text: str) -> str:
    """The commands of a page, a script's own in place of the line that runs it."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    return SCRIPT.sub(lambda call: Path(call[1]).read_text(), blocks)


def node_labels_of_the_readme() -> list[tuple[str, str]]:
    """The examples that the README of cluster/ gives for training.node_labels."""
    found = re.findall(r"`\{(ray\.io/[\w-]+): ([\w-]+)\}`", page())
    assert len(found) > 1
    return found


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file, each placeholder filled in with `given`."""
    text = path.read_text()
    filled = Template(text).safe_substitute(dict.fromkeys(PLACEHOLDER.findall(text), "given"))
    return list(yaml.safe_load_all(filled))


def commands(text: str, programs: set[str]) -> Iterator[list[str]]:
    """The calls of these programs in lines of shell, each as the list of its words."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(COMMENT.sub("", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                while words and BEFORE.match(words[0]):
                    words.pop(0)
                if words and Path(words[0]).name in programs:
                    yield words
                words = []
            else:
                words.append(word)


def parsed(group: Any, words: list[str]) -> dict[str, Any]:
    """What a click program reads from a call, which is not carried out.

    Raises:
        click.UsageError: for a command, an option or a value that the program does not know.
    """
    context = group.make_context(words[0], words[1:])
    while hasattr(context.command, "resolve_command"):
        words = context._protected_args + context.args  # click keeps a group's first word apart
        name, command, rest = context.command.resolve_command(context, words)
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)
