"""The judge of cpython.rs: pickles values and says which JSON they are."""

import base64
import io
import json
import pickle
import pickletools
import re
import resource
import sys
import warnings

warnings.simplefilter("ignore")
# A mutated PUT makes Python's unpickler ask for a table of gigabytes.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


class Builder:
    """Builds a value from its description and remembers its parts, to refer to them again."""

    def __init__(self):
        self.parts = []
        self.hashable = []

    def build(self, described):
        kind, *rest = described
        content = rest[0] if rest else None
        if kind == "r":
            return self.parts[content % len(self.parts)] if self.parts else None
        if kind == "h":
            return self.hashable[content % len(self.hashable)] if self.hashable else None
        value = self.make(kind, content)
        self.parts.append(value)
        if kind in "noifsb" or kind == "F":
            self.hashable.append(value)
        return value

    def make(self, kind, content):
        match kind:
            case "n":
                return None
            case "o":
                return content
            case "i":
                return int(content)
            case "f":
                return float(content)
            case "s":
                return content
            case "b":
                return bytes.fromhex(content)
            case "B":
                return bytearray.fromhex(content)
            case "l":
                return [self.build(item) for item in content]
            case "t":
                return tuple(self.build(item) for item in content)
            case "S":
                return {self.build(item) for item in content}
            case "F":
                return frozenset(self.build(item) for item in content)
            case "d":
                return {self.build(key): self.build(value) for key, value in content}
        raise ValueError(kind)


def to_json(value):
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value != value:
            return '{"$float":"nan"}'
        if value in (float("inf"), float("-inf")):
            return '{"$float":"%r"}' % value
        return re.sub(r"e([-+])0*", lambda sign: "e" + sign[1].strip("+"), repr(value))
    if isinstance(value, (bytes, bytearray)):
        return '{"$bytes":"%s"}' % base64.b64encode(value).decode()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return '{"$set":[' + ",".join(map(to_json, value)) + "]}"
    if isinstance(value, dict):
        pairs = [(to_json(key), to_json(member)) for key, member in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return "{" + ",".join(key + ":" + member for key, member in pairs) + "}"
        return '{"$dict":[' + ",".join("[%s,%s]" % pair for pair in pairs) + "]}"
    raise TypeError(type(value))


PLAIN = {
    ("_codecs", "encode"),
    ("builtins", "bytes"),
    ("builtins", "bytearray"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
}


def plain_only(unpickler):
    class Plain(unpickler):
        def find_class(self, module, name):
            if module == "__builtin__":
                module = "builtins"
            if (module, name) not in PLAIN:
                raise pickle.UnpicklingError(module, name)
            return super().find_class(module, name)

    return Plain


READERS = [plain_only(pickle.Unpickler), plain_only(pickle._Unpickler)]


def unpickle(data):
    """What both of Python's unpicklers read; None if one refuses."""
    texts = []
    for reader in READERS:
        try:
            texts.append(to_json(reader(io.BytesIO(data), encoding="utf-8").load()))
        except Exception:
            return None
    return texts[0]


def answer(question):
    if "unpickle" in question:
        return {"json": unpickle(bytes.fromhex(question["unpickle"]))}
    value = Builder().build(question["pickle"])
    pickles = [dump(value, protocol) for protocol in range(6) for dump in (pickle.dumps, pickle._dumps)]
    pickles += [pickletools.optimize(data) for data in pickles]
    return {"json": to_json(value), "pickles": [data.hex() for data in pickles]}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
