//! The stack machine: runs the opcodes of a pickle and leaves its values in an arena.
//!
//! It follows `CPython`'s `Modules/_pickle.c`, opcode names and meanings those of `pickletools.py`,
//! but where `CPython` would import, call or build, it refuses (`calls` has the five exceptions;
//! `values` has the opcodes of plain values). It neither looks for cycles nor compares keys; that is `measure`'s work.

use std::collections::HashMap;

use super::arena::{Graph, Items, Node, NodeId, Span, Text};
use super::memo::Memo;
use super::memory::Memory;
use super::reader::Reader;
use super::{Limits, PickleError};

/// A pickle whose opcodes have been run.
#[derive(Debug)]
pub(crate) struct Decoded<'p> {
    pub(crate) graph: Graph,
    pub(crate) text: Text<'p>,
    pub(crate) root: NodeId,
}

/// Runs a pickle to its end.
pub(crate) fn decode<'p>(
    pickle: &'p [u8],
    limits: &Limits,
    memory: &mut Memory<'_>,
) -> Result<Decoded<'p>, PickleError> {
    let limit = limits.most_input();
    if pickle.len() > limit {
        return Err(PickleError::TooLarge { limit });
    }
    let mut machine = Machine::new(pickle, limits);
    let root = machine.run(memory)?;
    Ok(Decoded { graph: machine.graph, text: machine.text, root })
}

/// The state of the stack machine.
#[derive(Debug)]
pub(crate) struct Machine<'p> {
    pub(crate) reader: Reader<'p>,
    pub(crate) graph: Graph,
    pub(crate) text: Text<'p>,
    stack: Vec<NodeId>,
    /// The heights of the stack at its marks. Values below the last mark are out of reach.
    marks: Vec<usize>,
    memo: Memo,
    /// Texts that were encoded as Latin-1 before: encoding one again must not cost its length again.
    pub(crate) encoded: HashMap<NodeId, Span>,
    /// How many members may still be copied from lists into sets. A pickler copies every member
    /// once, and each takes a byte at least.
    pub(crate) copies: usize,
    /// Where the opcode at hand begins.
    pub(crate) at: usize,
    most_values: usize,
    most_marks: usize,
    depth: usize,
}

impl<'p> Machine<'p> {
    fn new(pickle: &'p [u8], limits: &Limits) -> Self {
        let depth = usize::from(limits.most_depth());
        Self {
            reader: Reader::new(pickle),
            graph: Graph::new(limits.most_values()),
            text: Text::new(pickle),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Memo::default(),
            encoded: HashMap::new(),
            copies: pickle.len(),
            at: 0,
            most_values: limits.most_values() as usize,
            // A pickler has at most two marks open for each level of nesting (a set of protocol 0:
            // one for the arguments, one for its list).
            most_marks: 2 * depth + 2,
            depth,
        }
    }

    /// Runs opcodes up to STOP and returns the one value that is left.
    fn run(&mut self, memory: &mut Memory<'_>) -> Result<NodeId, PickleError> {
        /// Opcodes that read so many bytes make little beside their text.
        const BETWEEN_LOOKS: usize = 4_096;
        let mut looked_at = 0;
        loop {
            self.at = self.reader.at();
            if self.at - looked_at >= BETWEEN_LOOKS {
                looked_at = self.at;
                memory.need(self.memory_bytes())?;
            }
            match self.reader.u8()? {
                b'.' => break,
                opcode => self.arrange(opcode)?,
            }
        }
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(self.malformed("values are left over at the end"));
        }
        match self.reader.left() {
            0 => Ok(root),
            bytes => Err(PickleError::TrailingBytes { bytes }),
        }
    }

    /// What the tables take.
    fn memory_bytes(&self) -> usize {
        const A_TEXT_BYTES: usize = 32;
        let stack = self.stack.capacity() * size_of::<NodeId>() + self.marks.capacity() * size_of::<usize>();
        let encoded = self.encoded.capacity() * A_TEXT_BYTES;
        self.graph.memory_bytes() + self.text.memory_bytes() + self.memo.memory_bytes() + stack + encoded
    }

    /// The opcodes that move values about: stack, memo and containers.
    fn arrange(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            b'(' => self.mark(),
            b'0' => self.discard(),
            b'1' => self.pop_mark().map(|start| self.stack.truncate(start)),
            b'2' => self.top().and_then(|top| self.push(top)),
            b'p' => self.number_line().and_then(|number| self.put(number)),
            b'q' => self.reader.u8().and_then(|number| self.put(number.into())),
            b'r' => self.reader.u32().and_then(|number| self.put(number.into())),
            b'g' => self.number_line().and_then(|number| self.get(number)),
            b'h' => self.reader.u8().and_then(|number| self.get(number.into())),
            b'j' => self.reader.u32().and_then(|number| self.get(number.into())),
            0x94 => self.memoize(),
            b']' => self.push_new(Node::List(Items::EMPTY)),
            b'}' => self.push_new(Node::Dict(Items::EMPTY)),
            0x8f => self.push_new(Node::Set(Items::EMPTY)),
            b')' => self.push(Graph::EMPTY_TUPLE),
            b'l' => self.collect(Node::List),
            b't' => self.collect(Node::Tuple),
            0x91 => self.collect(Node::FrozenSet),
            b'd' => self.collect_dict(),
            0x85 => self.tuple_of(1),
            0x86 => self.tuple_of(2),
            0x87 => self.tuple_of(3),
            b'a' => self.last(1).and_then(|start| self.append(start)),
            b'e' => self.pop_mark().and_then(|start| self.append(start)),
            b's' => self.last(2).and_then(|start| self.set_items(start)),
            b'u' => self.pop_mark().and_then(|start| self.set_items(start)),
            0x90 => self.pop_mark().and_then(|start| self.add_items(start)),
            _ => self.value(opcode),
        }
    }
}

/// The stack and the memo.
impl Machine<'_> {
    pub(crate) fn malformed(&self, what: &'static str) -> PickleError {
        PickleError::Malformed { what, at: self.at }
    }

    pub(crate) fn push(&mut self, id: NodeId) -> Result<(), PickleError> {
        if self.stack.len() >= self.most_values {
            return Err(self.graph.too_many());
        }
        self.stack.push(id);
        Ok(())
    }

    pub(crate) fn push_new(&mut self, node: Node) -> Result<(), PickleError> {
        let id = self.graph.add(node)?;
        self.push(id)
    }

    /// The height below which the stack is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<NodeId, PickleError> {
        let reach = &self.stack[self.floor()..];
        reach.last().copied().ok_or_else(|| self.underflow())
    }

    pub(crate) fn pop(&mut self) -> Result<NodeId, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn underflow(&self) -> PickleError {
        self.malformed("an opcode takes more values than there are")
    }

    /// Where the topmost values begin.
    fn last(&self, count: usize) -> Result<usize, PickleError> {
        let start = self.stack.len().checked_sub(count);
        start.filter(|&start| start >= self.floor()).ok_or_else(|| self.underflow())
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() >= self.most_marks {
            return Err(PickleError::TooDeep { limit: self.depth });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Takes away the last mark and says where the values above it begin.
    fn pop_mark(&mut self) -> Result<usize, PickleError> {
        self.marks.pop().ok_or_else(|| self.malformed("an opcode lacks its mark"))
    }

    /// POP: drops the top, which may be a mark.
    fn discard(&mut self) -> Result<(), PickleError> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn put(&mut self, number: u64) -> Result<(), PickleError> {
        let top = self.top()?;
        self.check_memo()?;
        self.memo.put(number, top);
        Ok(())
    }

    fn memoize(&mut self) -> Result<(), PickleError> {
        let top = self.top()?;
        self.check_memo()?;
        self.memo.memoize(top);
        Ok(())
    }

    /// A pickler stores each value once.
    fn check_memo(&self) -> Result<(), PickleError> {
        if self.memo.len() >= self.most_values { Err(self.graph.too_many()) } else { Ok(()) }
    }

    fn get(&mut self, number: u64) -> Result<(), PickleError> {
        let id = self.memo.get(number);
        let id = id.ok_or_else(|| self.malformed("nothing is stored under a memo number"))?;
        self.push(id)
    }

    /// The decimal memo number of PUT and GET.
    fn number_line(&mut self) -> Result<u64, PickleError> {
        let line = self.reader.line()?.trim_ascii();
        let number = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
        number.ok_or_else(|| self.malformed("a memo number is no number"))
    }
}

/// Containers. Their members are the values of the stack from `start` on.
impl Machine<'_> {
    fn collect(&mut self, container: fn(Items) -> Node) -> Result<(), PickleError> {
        let start = self.pop_mark()?;
        self.contain(start, container)
    }

    fn collect_dict(&mut self) -> Result<(), PickleError> {
        let start = self.pop_mark()?;
        self.check_pairs(start)?;
        self.contain(start, Node::Dict)
    }

    fn tuple_of(&mut self, count: usize) -> Result<(), PickleError> {
        let start = self.last(count)?;
        self.contain(start, Node::Tuple)
    }

    fn contain(&mut self, start: usize, container: fn(Items) -> Node) -> Result<(), PickleError> {
        let items = self.take_from(start, Items::EMPTY)?;
        self.push_new(container(items))
    }

    fn append(&mut self, start: usize) -> Result<(), PickleError> {
        let list = self.below(start)?;
        let Node::List(items) = self.graph.node(list) else {
            return Err(self.malformed("something that is no list is appended to"));
        };
        let items = self.take_from(start, items)?;
        self.graph.set(list, Node::List(items));
        Ok(())
    }

    fn set_items(&mut self, start: usize) -> Result<(), PickleError> {
        self.check_pairs(start)?;
        let dict = self.below(start)?;
        let Node::Dict(items) = self.graph.node(dict) else {
            return Err(self.malformed("keys are set in something that is no dict"));
        };
        let items = self.take_from(start, items)?;
        self.graph.set(dict, Node::Dict(items));
        Ok(())
    }

    fn add_items(&mut self, start: usize) -> Result<(), PickleError> {
        let set = self.below(start)?;
        let Node::Set(items) = self.graph.node(set) else {
            return Err(self.malformed("members are added to something that is no set"));
        };
        let items = self.take_from(start, items)?;
        self.graph.set(set, Node::Set(items));
        Ok(())
    }

    /// The value under the members, which they are to be added to.
    fn below(&self, start: usize) -> Result<NodeId, PickleError> {
        let reach = self.stack.get(self.floor()..start).unwrap_or_default();
        reach.last().copied().ok_or_else(|| self.underflow())
    }

    /// Moves the values from `start` on behind the members that there are.
    fn take_from(&mut self, start: usize, items: Items) -> Result<Items, PickleError> {
        let items = self.graph.extend(items, &self.stack[start..])?;
        self.stack.truncate(start);
        Ok(items)
    }

    fn check_pairs(&self, start: usize) -> Result<(), PickleError> {
        match (self.stack.len() - start) % 2 {
            0 => Ok(()),
            _ => Err(self.malformed("a dict has a key without a value")),
        }
    }
}
