"""Two lines of different dialects, Flax's and PyTorch's: how much of what they say is the same."""

import re
from collections import Counter
from functools import lru_cache

TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|\s+|[^\w\s]")
# What a word of either dialect is called in both. Names that differ in case, underscores or "2d" alone need no row.
SAME = {
    "jax": "framework",
    "jnp": "framework",
    "torch": "framework",
    "functional": "framework",
    "array": "tensor",
    "call": "forward",
    "dense": "linear",
    "concatenate": "cat",
    "axis": "dim",
    "optax": "optim",
    "tx": "optimizer",
    "jaxnets": "ours",
    "torchnets": "ours",
    "flax": "framework",
    "linen": "nn",
    "keepdims": "keepdim",
    "modulelist": "list",
    "sequential": "list",
}
# Said on one side alone: they tell nothing.
IDLE = frozenset(["self", "train", "deterministic", "not", "none", "detach", "from", "import"])
SETUP = ("<setup>",)  # where the layers begin: Flax's setup, PyTorch's super().__init__()
DEFINED = "define "
ALONE = re.compile(r"[\s()\[\]{},:\"'.]*")  # a line of brackets


@lru_cache(maxsize=8192)
def words_of(line: str) -> tuple[str, ...]:
    """Return the words of a line, in what both dialects call them."""
    text = line.strip()
    if text.startswith(("def setup(", "super().__init__(")):
        return SETUP
    found = []
    for token in TOKEN.findall(text):
        word = re.sub(r"(?<=[a-z])[123]d$", "", token.lower()).replace("_", "")
        word = SAME.get(word, word)
        if word and (word[0].isalnum()) and word not in IDLE:
            found.append(word)
    return tuple(found)


@lru_cache(maxsize=8192)
def head_of(line: str) -> str:
    """Return what a line does: the name that is defined or assigned, or the statement's first word."""
    text = line.strip()
    if found := re.match(r"(?:async )?(?:def|class) (\w+)", text):
        name = found[1].lower().replace("_", "")
        return f"{DEFINED}{SAME.get(name, name)}"  # a function here may be a class there
    if found := re.match(r"(?:self\.)?(\w+)(?:, (?:self\.)?\w+)*(?:: [^=]+)? [-+*]?= ", text):
        return f"= {found[1].lower()}"
    if found := re.match(r"(?:self\.)?(\w+): [\w\[]", text):  # a field, an argument
        return f": {found[1].lower()}"
    found = re.match(r"return|if|elif|else|for|while|with|import|from|raise|yield|@", text)
    return found[0] if found else ""


@lru_cache(maxsize=65536)
def likeness(ours: str, theirs: str) -> float:
    """Return how alike two lines are, from 0 to 1; 1 only if they are equal, or if both begin the layers."""
    a, b = ours.strip(), theirs.strip()
    if a == b:
        return 1.0
    if not a or not b or ALONE.fullmatch(a) or ALONE.fullmatch(b):
        return 0.0
    x, y = words_of(a), words_of(b)
    if x == y == SETUP:
        return 1.0
    if not x or not y:
        return 0.0
    common = sum((Counter(x) & Counter(y)).values())
    share = 2 * common / (len(x) + len(y))
    first, second = head_of(a), head_of(b)
    if first == second and first.startswith(DEFINED):
        share = max(share, 0.8) + (0.1 if a.split()[0] == b.split()[0] else 0.0)
    elif first and first == second:
        share += 0.35 if " " in first else 0.1
    elif first.startswith(DEFINED) and second.startswith(DEFINED):
        return 0.0  # two functions, whatever else they share
    elif first.startswith(DEFINED) or second.startswith(DEFINED):
        share -= 0.3
    if a.startswith("#") != b.startswith("#"):
        share -= 0.2
    return max(0.0, min(share, 0.99))


def weight(line: str) -> float:
    """Return how much it matters where a line comes to stand."""
    text = line.strip()
    if not text:
        return 0.05
    if ALONE.fullmatch(text):
        return 0.1
    if head_of(line).startswith(DEFINED):
        return 2.0
    return 0.6 + min(len(words_of(line)), 6) / 15
