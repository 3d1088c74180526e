"""How many tokens a text has: by tiktoken where its table is at hand, else a quarter of its bytes.

tiktoken fetches a table at its first use, without a time-out. It is tried once in a process, on a
thread of its own, and given up after a few seconds: then bytes are counted for as long as the
process lives, so that two prompts of a run are measured by the same rule.
"""

import functools
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tiktoken import Encoding

WAIT_SECONDS = 5.0
DEFAULT_ENCODING = "o200k_base"
PIECE = 4096
"""Characters counted at once: tiktoken's time grows with the square of a word's length."""
REMEMBERED = 20_000
"""Texts, 100 bytes each: files come again with every prompt."""
BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""What a message's role and frame take, about, in OpenAI's format."""

_UNWRITABLE = re.compile("[\ud800-\udfff]")


class TokenCounter:
    """Counts for one model; cheap to make, shared by threads, never raises.

    Args:
        model: tiktoken knows OpenAI's; any other is counted as the newest of those.
    """

    def __init__(self, model: str) -> None:
        self._model = model

    @property
    def name(self) -> Literal["tiktoken", "bytes"]:
        """Who counts. May wait up to `WAIT_SECONDS`, once in a process."""
        return "bytes" if self._table.encoding is None else "tiktoken"

    def count(self, text: str) -> int:
        """Tokens of a text; a name of a special token in it is text like any other."""
        return self._table.count(text)

    def count_messages(self, messages: Iterable[Mapping[str, Any]]) -> int:
        """Tokens of a conversation with its frame."""
        return sum(MESSAGE_TOKENS + self.count(str(one.get("content") or "")) for one in messages)

    @functools.cached_property
    def _table(self) -> "_Table":
        return _table(_encoding_name(self._model))


class _Table:
    """One encoding with what it has counted."""

    def __init__(self, encoding: "Encoding | None") -> None:
        self.encoding = encoding
        self._counted: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, text: str) -> int:
        data = text.encode("utf-8", "surrogatepass")
        if self.encoding is None:
            return -(-len(data) // BYTES_PER_TOKEN)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        with self._lock:
            known = self._counted.get(digest)
            if known is not None:
                self._counted.move_to_end(digest)
                return known
        number = self._count(_UNWRITABLE.sub("\ufffd", text))
        with self._lock:
            self._counted[digest] = number
            while len(self._counted) > REMEMBERED:
                self._counted.popitem(last=False)
        return number

    def _count(self, text: str) -> int:
        assert self.encoding is not None
        encode = self.encoding.encode_ordinary
        return sum(len(encode(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterable[str]:
    """Short parts that end with a line where one ends in reach."""
    start = 0
    while len(text) - start > PIECE:
        end = text.rfind("\n", start, start + PIECE) + 1 or start + PIECE
        yield text[start:end]
        start = end
    yield text[start:]


_tables: dict[str, _Table] = {}
_tables_lock = threading.Lock()


def _table(name: str) -> _Table:
    with _tables_lock:  # threads that come meanwhile wait for the same attempt
        if name not in _tables:
            _tables[name] = _Table(_load(name))
        return _tables[name]


def _encoding_name(model: str) -> str:
    from tiktoken.model import encoding_name_for_model

    try:
        return encoding_name_for_model(model)
    except KeyError:
        return DEFAULT_ENCODING


def _load(name: str) -> "Encoding | None":
    """tiktoken's table, from its cache or the network; None where neither gives it in time."""
    loaded: list[Encoding] = []

    def load() -> None:
        import tiktoken

        try:
            loaded.append(tiktoken.get_encoding(name))
        except (OSError, ValueError, ImportError):
            return  # offline, or what came is not the table

    # A daemon: a connection that hangs must not hold up the end of the process.
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(WAIT_SECONDS)
    return loaded[0] if loaded else None
