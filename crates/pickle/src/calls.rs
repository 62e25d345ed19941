//! The five calls that Python itself writes for plain data, each carried out here by hand.
//!
//! They are what `CPython`'s pickler writes where a protocol has no opcode for a type (`save_bytes`,
//! `save_bytearray`, `save_set` and `save_frozenset` in `Lib/pickle.py`), and `bytearray.__reduce__`
//! of Python 2. A name is compared, never looked up; nothing is imported.

use super::arena::{Function, Items, Node, NodeId, Span};
use super::decode::Machine;
use super::{PickleError, shown};

impl Machine<'_> {
    /// The opcodes that import or call; all but a few uses of three of them are refused.
    pub(crate) fn call(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'R' => self.reduce(),
            b'i' => self.instance(),
            b'o' => Err(PickleError::Object { opcode: "OBJ" }),
            b'b' => Err(PickleError::Object { opcode: "BUILD" }),
            0x81 => Err(PickleError::Object { opcode: "NEWOBJ" }),
            0x92 => Err(PickleError::Object { opcode: "NEWOBJ_EX" }),
            b'P' | b'Q' => Err(PickleError::PersistentId),
            0x82..=0x84 => Err(PickleError::Extension),
            0x97 | 0x98 => Err(PickleError::OutOfBand),
            _ => Err(PickleError::UnknownOpcode { opcode, at: self.at }),
        }
    }

    /// GLOBAL: pushes a function that plain data needs.
    fn global(&mut self) -> Result<(), PickleError> {
        let (module, name) = (self.reader.line()?, self.reader.line()?);
        self.push_new(Node::Function(function(module, name)?))
    }

    /// INST, which imports and calls at once; no plain data needs it.
    fn instance(&mut self) -> Result<(), PickleError> {
        let (module, name) = (self.reader.line()?, self.reader.line()?);
        Err(refused_import(module, name))
    }

    /// `STACK_GLOBAL`: as GLOBAL, with both names from the stack.
    fn stack_global(&mut self) -> Result<(), PickleError> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Node::Str(name), Node::Str(module)) = (self.graph.node(name), self.graph.node(module)) else {
            return Err(self.malformed("an imported name is no text"));
        };
        let function = function(self.text.get(module), self.text.get(name))?;
        self.push_new(Node::Function(function))
    }

    /// REDUCE: carries out one of the five calls.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Node::Function(function) = self.graph.node(function) else {
            return Err(PickleError::CallOfData);
        };
        let Node::Tuple(arguments) = self.graph.node(arguments) else {
            return Err(self.malformed("the arguments of a call are no tuple"));
        };
        // No call has more than two; a third is enough to tell that there are too many.
        let ids: Vec<NodeId> = self.graph.items(arguments).take(3).collect();
        let result = match function {
            Function::Encode => self.encoded(&ids)?.map(Node::Bytes),
            Function::Bytes => ids.is_empty().then_some(Node::Bytes(Span::EMPTY)),
            Function::ByteArray => self.byte_array(&ids)?.map(Node::ByteArray),
            Function::Set => self.members(&ids)?.map(Node::Set),
            Function::FrozenSet => self.members(&ids)?.map(Node::FrozenSet),
        };
        match result {
            Some(node) => self.push_new(node),
            None => Err(PickleError::Call { name: function.name() }),
        }
    }

    /// `bytearray()`, `bytearray(bytes)` or `bytearray(text, "latin-1")`.
    fn byte_array(&mut self, arguments: &[NodeId]) -> Result<Option<Span>, PickleError> {
        let [only] = arguments else {
            return match arguments {
                [] => Ok(Some(Span::EMPTY)),
                two => self.encoded(two),
            };
        };
        let node = self.graph.node(*only);
        Ok(if let Node::Bytes(span) = node { Some(span) } else { None })
    }

    /// `(text, "latin1")`: the text's characters as bytes.
    fn encoded(&mut self, arguments: &[NodeId]) -> Result<Option<Span>, PickleError> {
        let &[id, codec] = arguments else {
            return Ok(None);
        };
        let (Node::Str(text), Node::Str(codec)) = (self.graph.node(id), self.graph.node(codec)) else {
            return Ok(None);
        };
        if !matches!(self.text.get(codec), b"latin1" | b"latin-1") {
            return Ok(None);
        }
        if let Some(&span) = self.encoded.get(&id) {
            return Ok(Some(span));
        }
        let Some(bytes) = latin1(self.text.get(text)) else {
            return Err(self.malformed("a text that stands for bytes has a character beyond 255"));
        };
        let span = self.text.add(&bytes)?;
        self.encoded.insert(id, span);
        Ok(Some(span))
    }

    /// `([..],)`: the members of a set, as they are in the list now.
    fn members(&mut self, arguments: &[NodeId]) -> Result<Option<Items>, PickleError> {
        let &[list] = arguments else {
            return Ok(None);
        };
        let Node::List(list) = self.graph.node(list) else {
            return Ok(None);
        };
        let left = self.copies.checked_sub(list.len());
        self.copies = left.ok_or_else(|| self.malformed("a list is made a set again and again"))?;
        let mut copy = Items::EMPTY;
        let mut cursor = list.start();
        while let Some((item, next)) = self.graph.next(cursor) {
            self.graph.push(&mut copy, item)?;
            cursor = next;
        }
        Ok(Some(copy))
    }
}

/// A function that plain data needs, by its name in Python 2 or 3.
fn function(module: &[u8], name: &[u8]) -> Result<Function, PickleError> {
    match (module, name) {
        (b"_codecs", b"encode") => Ok(Function::Encode),
        (b"builtins" | b"__builtin__", b"bytes") => Ok(Function::Bytes),
        (b"builtins" | b"__builtin__", b"bytearray") => Ok(Function::ByteArray),
        (b"builtins" | b"__builtin__", b"set") => Ok(Function::Set),
        (b"builtins" | b"__builtin__", b"frozenset") => Ok(Function::FrozenSet),
        _ => Err(refused_import(module, name)),
    }
}

fn refused_import(module: &[u8], name: &[u8]) -> PickleError {
    let name = format!("{}.{}", shown(module), shown(name));
    PickleError::Import { name }
}

fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}
