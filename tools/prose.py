"""Check the project's English: docstrings, comments, messages and help texts in Python, and prose in Markdown.

The words and phrases to avoid are in `words.toml`, each with what to write instead. Besides, an error message has at most 35 words.
Usage: python tools/prose.py [PATH ...]; without paths, the whole repository. Exits with 1 when it finds something.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = (
    "src",
    "tests",
    "benchmarks",
    "tools",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)
MESSAGE_WORDS = 35
HELP_KEYWORDS = frozenset({"help", "epilog", "short_help", "description", "reason", "message", "msg"})
HELP_CALLS = frozenset({"echo", "secho", "ClickException", "BadParameter", "UsageError"})
NOT_A_COMMENT = re.compile(r"#\s*(noqa|type:|fmt:|pragma|!|ruff:|mypy:)")
CODE = re.compile(r"```.*?^\s*```|`[^`\n]*`|\]\([^)]*\)|https?://\S+|<[^>\n]+>", re.MULTILINE | re.DOTALL)

Piece = tuple[int, str, bool]  # line, text, whether it is an error message


def main(arguments: list[str] | None = None) -> int:
    """Print the findings, one line each; return the exit code."""
    parser = argparse.ArgumentParser(description="Check the project's English against tools/words.toml.")
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders; default: the whole repository")
    paths = parser.parse_args(arguments).paths or [ROOT / place for place in PLACES]
    words = read_words(ROOT / "tools" / "words.toml")
    found = [line for file in text_files(paths) for line in check_file(file, words)]
    print("\n".join(found) if found else "prose: nothing to rewrite")
    return 1 if found else 0


def read_words(path: Path) -> list[tuple[re.Pattern[str], str]]:
    """Return the patterns and what to write instead."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))["words"]
    return [(re.compile(pattern, re.IGNORECASE), better) for pattern, better in table.items()]


def text_files(paths: list[Path]) -> Iterator[Path]:
    """Yield the Python and Markdown files under some paths, but no generated ones."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".py", ".md", ".ipynb") and "records" not in file.parts and file.is_file():
                yield file


def check_file(path: Path, words: list[tuple[re.Pattern[str], str]]) -> list[str]:
    """Return one line for each finding in a file."""
    text = path.read_text(encoding="utf-8")
    pieces = python_pieces(text) if path.suffix == ".py" else markdown_pieces(text)
    found = []
    for line, piece, is_message in pieces:
        for pattern, better in words:
            match = pattern.search(piece)
            if match:
                found.append(f"{path}:{line}: {match.group()!r}: better {better}")
        if is_message and len(piece.split()) > MESSAGE_WORDS:
            found.append(f"{path}:{line}: a message of {len(piece.split())} words: at most {MESSAGE_WORDS}")
    return found


def python_pieces(text: str) -> Iterator[Piece]:
    """Yield docstrings, comments, raised messages, warnings, help texts and what commands print."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, CODE.sub(" ", docstring), False
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in [*node.exc.args, *(keyword.value for keyword in node.exc.keywords)]:
                yield from _strings(argument, is_message=True)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [keyword.value for keyword in node.keywords if keyword.arg in HELP_KEYWORDS]
            for argument in [*given, *(node.args if name in HELP_CALLS else [])]:
                yield from _strings(argument, is_message=False)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not NOT_A_COMMENT.match(token.string):
            yield token.start[0], CODE.sub(" ", token.string), False


def _strings(node: ast.expr, *, is_message: bool) -> Iterator[Piece]:
    """Yield the text of a string or f-string, each inserted value as one word."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value, is_message
    elif isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values]
        yield node.lineno, "".join(parts), is_message
    elif isinstance(node, ast.BinOp):
        yield from _strings(node.left, is_message=is_message)
        yield from _strings(node.right, is_message=is_message)


def markdown_pieces(text: str) -> Iterator[Piece]:
    """Yield the lines of prose of a Markdown file, without code and links."""
    blanked = CODE.sub(lambda match: "\n" * match.group().count("\n") + " ", text)
    for number, line in enumerate(blanked.splitlines(), 1):
        yield number, line, False


if __name__ == "__main__":
    sys.exit(main())
