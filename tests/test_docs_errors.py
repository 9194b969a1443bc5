# SPDX-License-Identifier: Apache-2.0
"""docs/errors.md has a row for every message of the sources, and no other: text and class.

The messages are read from the calls that make them. In a pattern {} is what is known only at run time.
"""

import ast
import re
from functools import cache
from pathlib import Path

import foveate
import pytest

TREE = Path(__file__).resolve().parent.parent
WORDS = ("Engine|image|pyramid|relevance|rate|layout|sample|warp|tensor|memory|vulkan|encode|doctor|bench|demo|"
         "model|decode|batch|serve|client|gaze|gl|cuda|profile|overlay|report|quality|foveate")
KINDS = {"input": "InputError", "limit": "LimitError", "memory": "MemoryBudgetError", "device": "DeviceError",
         "device_lost": "DeviceLostError", "timeout": "WaitTimeoutError", "forked": "ForkedEngineError",
         "unsupported": "UnsupportedError"}
CODED = {"DecodeError": "decode: "}      # (code, got, expected) makes the text
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'|//[^\n]*|\w+|\s+|.', re.S)
STAGE = re.compile(rf"(?:{WORDS}|\{{\}}): ")     # {}: a check that several stages share


def message(what, got, expected, hint=""):
    return what + (got and f": got {got}") + (expected and f", expected {expected}") + "." + (hint and f" {hint}")


def split(tokens, at, mark):
    """C++ expressions from `at` on, cut at `mark` outside brackets, up to the bracket or semicolon that ends them."""
    parts, depth = [[]], 0
    for token in tokens[at:]:
        if depth == 0 and token in ")]};":
            break
        if depth == 0 and token == mark:
            parts.append([])
            continue
        depth += (token in "([{") - (token in ")]}")
        parts[-1].append(token)
    return parts


def text_of(expression):
    if "?" in expression:
        return "{}"
    result = ""
    for term in split(expression, 0, "+") if expression else ():
        literals = [token for token in term if token[0] in "\"'"]
        rest = "".join(token for token in term if token[0] not in "\"'")
        result += "".join(map(ast.literal_eval, literals)) if literals and rest in ("", "std::string()") else "{}"
    return result.replace("{}{}", "{}")


def cpp_texts(path):
    """(pattern, class or None where it varies) of every message that a C++ file can make."""
    text = path.read_text().replace("\\\n", "\n")
    tokens = [t for t in TOKEN.findall(text) if not t.startswith("//") and not t.isspace()]
    for at, word in enumerate(tokens[:-1]):
        if word[0] == '"' and STAGE.match(word[1:]) and ": got " in word:
            yield text_of(split(tokens, at, ",")[0]), "BufferError"
        if tokens[at + 1] != "(":
            continue
        parts = split(tokens, at + 2, ",")
        texts = [text_of(part) for part in parts]
        named = next((part[-1] for part in parts if part[:1] == ["ErrorKind"]), "input" if word != "fail" else "")
        kind = KINDS.get(named)
        known = any(STAGE.match(t) for t in texts)
        if word in ("require", "fail") and len(texts) >= 4 and STAGE.match(texts[1]):
            yield message(*texts[1:5]), kind
        elif word == "refuse" and len(texts) == 4:
            yield message("image: DLPack " + texts[1], *texts[2:]), kind
        elif word == "in_range" and known:
            yield message(texts[0], "{}", "{}..{}"), None
        elif word == "check_range" and known:
            yield message(texts[0], "{} bytes", "at most {} on this device", "Use fewer images a call."), "LimitError"
        elif word == "own" and known:
            yield message(texts[-1], "memory of another engine", "memory the host can read",
                          "Make it with this Engine."), "InputError"


def python_text(node):
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else
                       "{what}" if isinstance(v.value, ast.Name) and v.value.id == "what" else "{}"
                       for v in node.values)
    if isinstance(node, ast.BinOp):
        return python_text(node.left) + python_text(node.right)
    return "{what}" if isinstance(node, ast.Name) and node.id == "what" else "{}"


def raised(call):
    """(pattern, class) of a call that makes a message, or None."""
    function = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    arguments = [*call.args, *(k.value for k in call.keywords)]
    if function == "require" and len(arguments) >= 4:
        texts = [python_text(a) for a in arguments[1:5]]
        kinds = [a.id for a in arguments if isinstance(a, ast.Name) and a.id.endswith("Error")]
        return message(*(t for t in texts if t)), (kinds or ["InputError"])[0]
    if function in CODED and len(arguments) == 3:
        code, got, expected = map(python_text, arguments)
        return message(CODED[function] + code, got, expected), function
    if (function.endswith("Error") or function in ("Failure", "exit")) and arguments:
        return python_text(arguments[0]), None if function in ("Failure", "exit") else function
    return None


def python_texts():
    """The same for the package: messages that name {what} are filled in from the calls of their function."""
    trees = [ast.parse(path.read_text()) for path in sorted((TREE / "python/foveate").rglob("*.py"))]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    generic = {}    # function -> its messages
    for tree in trees:
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                found = raised(call)
                if found and found[0].startswith("{what}"):
                    generic.setdefault(function.name, set()).add(found)
    for _ in range(3):  # a function may hand its {what} on
        for function in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                inner = generic.get(getattr(call.func, "id", ""))
                if inner and call.args and python_text(call.args[0]) == "{what}" and function.name not in ("require",):
                    generic.setdefault(function.name, set()).update(inner)
    for call in calls:
        found = raised(call)
        if found and STAGE.match(found[0]):
            yield found[0].replace("{what}", "{}"), found[1]
        for text, kind in generic.get(getattr(call.func, "id", ""), ()):
            if call.args and STAGE.match(what := python_text(call.args[0])):
                yield text.replace("{what}", what).replace("{what}", "{}"), kind


@cache
def source_texts():
    found = set(python_texts())
    for folder in ("engine", "interop", "python/bindings"):
        for path in sorted((TREE / folder).rglob("*")):
            if path.suffix in (".cpp", ".h") and path.name != "testing.cpp":
                found |= {entry for entry in cpp_texts(path) if STAGE.match(entry[0])}
    return sorted(found, key=str)


def rows():
    """(text, class) of every row in docs/errors.md; placeholders as {}."""
    page = (TREE / "docs/errors.md").read_text()
    found = re.findall(r"^\| `([^`]+)` \| `(\w+)` \| [^|]+ \| [^|]+ \|$", page, re.M)
    assert len(found) == len(re.findall(rf"^\| `(?:{WORDS}|{{\w+}}): ", page, re.M)), "a row of another shape"
    return [(re.sub(r"\{[^{}]*\}", "{}", text), kind) for text, kind in found]


@cache      # re keeps 512 of them, and there are more
def compiled(pattern):
    return re.compile(".+".join(map(re.escape, pattern.split("{}"))), re.S)


def fits(pattern, text):
    return compiled(pattern).fullmatch(text) is not None


def same(source, row):
    return source[1] in (None, row[1]) and (fits(source[0], row[0]) or fits(row[0], source[0]))


def test_every_error_has_a_row():
    known = rows()
    assert [source for source in source_texts() if not any(same(source, row) for row in known)] == []


def test_every_row_is_an_error():
    texts = source_texts()
    assert len(texts) > 150
    assert [row for row in rows() if not any(same(source, row) for source in texts)] == []


def test_no_row_stands_twice():
    page = (TREE / "docs/errors.md").read_text()
    texts = re.findall(r"^\| `([^`]+)` \| `\w+` \|", page, re.M)
    assert sorted(text for text in set(texts) if texts.count(text) > 1) == []


def test_what_is_raised_has_a_row(cpu):
    from test_error import CALLS

    known = rows()
    for call in CALLS.values():
        with pytest.raises(foveate.Error) as error:
            call(cpu)
        text, kind = str(error.value), type(error.value).__name__
        assert any(kind == k and fits(pattern, text) for pattern, k in known), (kind, text)
