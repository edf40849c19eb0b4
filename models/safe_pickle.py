"""A pickle interpreter of our own that calls nothing: it knows a fixed list of names and only stores data.

Python's own unpickler calls what the file names, and even a restricted one hands hostile arguments to numpy's
constructors and reserves whatever memory the file asks for. This one reads the bytes as data: names stay
symbols, a symbol outside the list of `safe_values` is refused where it stands, and so is every instruction
that data has no need of.

Source of the opcodes: Python's `pickletools`.
"""

import struct
from collections.abc import Callable
from typing import Any

from marotte.models.safe_values import (
    ALLOWED,
    BUILDERS,
    STUBS,
    ArrayStub,
    Damage,
    DtypeStub,
    Name,
    Refusal,
    Stub,
    array_state,
    key,
)


class Machine:
    """One pickle being read.

    data: the bytes; start: where the pickle begins. storage: what turns a persistent id (torch) into a storage;
    None where the file may have none. nested: what reads the inner archive of `_load_from_bytes`.
    """

    def __init__(
        self,
        data: bytes,
        start: int = 0,
        storage: Callable[[Any], Any] | None = None,
        nested: Callable[[bytes], Any] | None = None,
    ) -> None:
        self.data, self.at = data, start
        self.storage, self.nested = storage, nested
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        # Memo references let a small file ask for the same large copy again and again.
        self.budget = 8 * len(data) + 1_000_000

    def spend(self, amount: int) -> None:
        """Count work that copies; refuse a file that asks for far more than its size explains."""
        self.budget -= amount
        if self.budget < 0:
            raise Refusal("asks for far more copies than its size explains")

    def run(self) -> Any:
        """Read up to STOP; return the value, with stubs in it (see `settle`). `at` is then behind the pickle."""
        if self.take(1) != b"\x80":
            raise Damage("it does not begin as a pickle of protocol 2 or newer")
        if (protocol := self.take(1)[0]) not in range(2, 6):
            raise Damage(f"pickle protocol {protocol} is not one of 2 to 5")
        while (code := self.take(1)) != b".":
            operation = OPERATIONS.get(code)
            if operation is None:
                raise Refusal(f"uses the pickle instruction {code!r}, which data does not need")
            operation(self)
        return self.pop()

    def take(self, amount: int) -> bytes:
        """Return the next bytes."""
        piece = self.data[self.at : self.at + amount]
        if len(piece) != amount:
            raise Damage("it is cut short")
        self.at += amount
        return piece

    def number(self, form: str) -> Any:
        """Return the next number, in the form of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Return the text up to the next line feed."""
        end = self.data.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            raise Damage("a line in it does not end")
        text = self.data[self.at : end].decode("latin-1")
        self.at = end + 1
        return text

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the top of the stack, not beyond the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Damage("its stack runs empty")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        """Take all that was pushed since the last mark."""
        if not self.marks:
            raise Damage("it has no mark")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self, *kinds: type) -> Any:
        """Return the top of the stack, which must be of these types."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0) or type(self.stack[-1]) not in kinds:
            raise Damage(f"no {kinds[0].__name__} stands where one should")
        return self.stack[-1]

    def name(self, module: Any, name: Any) -> None:
        """Push a symbol of the allow-list."""
        if type(module) is not str or type(name) is not str:
            raise Damage("a name is not text")
        if (module, name) not in ALLOWED:
            raise Refusal(f"asks to run {module}.{name}"[:200])
        self.push(Name(module, name))

    def recall(self, index: int) -> None:
        """Push what was remembered."""
        if index not in self.memo:
            raise Damage("it recalls what it never stored")
        self.push(self.memo[index])

    def remember(self, index: int) -> None:
        """Store the top of the stack; a dict, so that a huge index costs nothing."""
        if not self.stack:
            raise Damage("its stack runs empty")
        self.memo[index] = self.stack[-1]

    def reduce(self) -> None:
        """Build a value by one of `BUILDERS`."""
        arguments, symbol = self.pop(), self.pop()
        if type(symbol) is not Name or type(arguments) is not tuple:
            raise Damage("it calls what is no name")
        if symbol not in BUILDERS:
            raise Refusal(f"asks to call {symbol.module}.{symbol.name}")
        self.push(BUILDERS[symbol](self, *arguments))

    def new_object(self) -> None:
        """Make an empty stub."""
        arguments, symbol = self.pop(), self.pop()
        if type(symbol) is not Name or symbol not in STUBS or arguments != ():
            raise Refusal(f"asks to make an object of {'.'.join(symbol) if type(symbol) is Name else 'no class'}")
        self.push(Stub(symbol))

    def build(self) -> None:
        """Give the top of the stack its state."""
        state = self.pop()
        target = self.top(ArrayStub, DtypeStub, Stub, dict)
        if isinstance(target, ArrayStub):
            array_state(self, target, state)
        elif isinstance(target, DtypeStub):
            _, target.order, *described = state
            if target.order not in ("<", ">", "|", "=") or any(part is not None for part in described[:3]):
                raise Damage("a numpy dtype has fields")
        elif isinstance(target, Stub):
            if type(state) is not dict:
                raise Damage(f"{'.'.join(target.name)} has no state")
            target.state = state
        # On a dict: attributes of an OrderedDict (torch's `_metadata`), which are not its content.

    def persistent(self) -> None:
        """Push the torch storage of a persistent id."""
        if self.storage is None:
            raise Refusal("refers to data outside it")
        self.push(self.storage(self.pop()))

    def set_items(self, items: list[Any]) -> None:
        """Put pairs into the dict on the stack."""
        target = self.top(dict)
        if len(items) % 2:
            raise Damage("a key has no value")
        for i in range(0, len(items), 2):
            target[key(items[i])] = items[i + 1]


def _pop2(m: Machine) -> list[Any]:
    value, item_key = m.pop(), m.pop()
    return [item_key, value]


def _tuple(m: Machine, length: int) -> None:
    m.push(tuple([m.pop() for _ in range(length)][::-1]))


def _integer_line(m: Machine) -> None:
    text = m.line()
    m.push({"00": False, "01": True}[text] if text in ("00", "01") else int(text[:40]))


OPERATIONS: dict[bytes, Callable[[Machine], Any]] = {
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _integer_line,  # Python 2 wrote numbers beyond 32 bits so, also in protocol 2
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"U": lambda m: m.push(m.take(m.number("<B")).decode("latin-1")),
    b"T": lambda m: m.push(m.take(m.number("<I")).decode("latin-1")),
    b"X": lambda m: m.push(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
    b"C": lambda m: m.push(m.take(m.number("<B"))),
    b"B": lambda m: m.push(m.take(m.number("<I"))),
    b"\x8e": lambda m: m.push(m.take(m.number("<Q"))),
    b"\x96": lambda m: m.push(m.take(m.number("<Q"))),  # a bytearray; nothing here writes into it
    b")": lambda m: m.push(()),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"]": lambda m: m.push([]),
    b"a": lambda m: (item := m.pop(), m.top(list).append(item)),
    b"e": lambda m: (items := m.since_mark(), m.top(list).extend(items)),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.set_items(_pop2(m)),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": lambda m: (items := m.since_mark(), m.top(set).update(map(key, items))),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": lambda m: m.name(*_pop2(m)),
    b"R": Machine.reduce,
    b"\x81": Machine.new_object,
    b"b": Machine.build,
    b"Q": Machine.persistent,
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"\x95": lambda m: m.take(8),  # the length of a frame, needed only by readers of pipes
}
