//! Where a decoded pickle lives: values and list cells in two flat tables, texts as spans.
//!
//! Everything refers to everything else by index. Nothing owns another value, so that a pickle of
//! any nesting is dropped without recursion and shared values cost nothing. It knows no opcodes and
//! does not look for cycles.

use super::PickleError;

/// A position in the table of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// No value; never in the table.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value. Sixteen bytes, so that a pickle of a million empty lists stays small.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, as canonical decimal text.
    BigInt(Span),
    Float(f64),
    /// Valid UTF-8.
    Str(Span),
    Bytes(Span),
    ByteArray(Span),
    Tuple(Items),
    List(Items),
    Set(Items),
    FrozenSet(Items),
    /// Keys and values in turn. All keys are text and none begins with `$`, once measured.
    Dict(Items),
    /// As `Dict`, but must be written as a list of pairs. Made only by the measure.
    Pairs(Items),
    /// One of the importable names that plain data needs; no value in itself.
    Function(Function),
}

/// What a pickle of plain data may import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Encode,
    Bytes,
    ByteArray,
    Set,
    FrozenSet,
}

impl Function {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encode => "_codecs.encode",
            Self::Bytes => "builtins.bytes",
            Self::ByteArray => "builtins.bytearray",
            Self::Set => "builtins.set",
            Self::FrozenSet => "builtins.frozenset",
        }
    }
}

/// A list of values: a chain of cells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Items {
    first: u32,
    last: u32,
    len: u32,
}

impl Items {
    pub(crate) const EMPTY: Self = Self { first: END, last: END, len: 0 };

    pub(crate) fn start(self) -> Cursor {
        Cursor(self.first)
    }

    pub(crate) fn len(self) -> usize {
        self.len as usize
    }
}

/// A place in a chain of cells, or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(u32);

const END: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Cell {
    item: NodeId,
    next: u32,
}

/// The tables of values and cells.
#[derive(Debug)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    cells: Vec<Cell>,
    most: u32,
}

impl Graph {
    pub(crate) const NULL: NodeId = NodeId(0);
    pub(crate) const FALSE: NodeId = NodeId(1);
    pub(crate) const TRUE: NodeId = NodeId(2);
    pub(crate) const EMPTY_TUPLE: NodeId = NodeId(3);
    const SMALL_INTS: u32 = 4;
    /// A value is a member when it is decoded, once more if a set is made of a list, and once more if equal keys are
    /// merged.
    const CELLS_A_VALUE: usize = 3;
    const BUILT_IN: u32 = Self::SMALL_INTS + 256;

    /// Makes the tables, with room for `most` values beside those that every pickle shares.
    pub(crate) fn new(most: u32) -> Self {
        let constants = [Node::None, Node::Bool(false), Node::Bool(true), Node::Tuple(Items::EMPTY)];
        Self { nodes: constants.into_iter().chain((0..256).map(Node::Int)).collect(), cells: Vec::new(), most }
    }

    /// The shared value for 0 to 255, so that a list of bytes as ints has no value of its own each.
    pub(crate) fn small_int(value: u8) -> NodeId {
        NodeId(Self::SMALL_INTS + u32::from(value))
    }

    /// # Errors
    /// [`PickleError::TooManyValues`].
    pub(crate) fn add(&mut self, node: Node) -> Result<NodeId, PickleError> {
        let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if id >= Self::BUILT_IN.saturating_add(self.most).min(u32::MAX - 1) {
            return Err(self.too_many());
        }
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    pub(crate) fn too_many(&self) -> PickleError {
        PickleError::TooManyValues { limit: self.most as usize }
    }

    pub(crate) fn node(&self, id: NodeId) -> Node {
        self.nodes[id.index()]
    }

    pub(crate) fn set(&mut self, id: NodeId, node: Node) {
        self.nodes[id.index()] = node;
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What the tables take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.cells.capacity() * size_of::<Cell>()
    }

    /// Appends a value to a chain.
    ///
    /// # Errors
    /// [`PickleError::TooManyValues`] when the table of cells is full.
    pub(crate) fn push(&mut self, items: &mut Items, item: NodeId) -> Result<(), PickleError> {
        let most = (self.most as usize).saturating_mul(Self::CELLS_A_VALUE).min(END as usize);
        let cell = u32::try_from(self.cells.len()).ok().filter(|&cell| (cell as usize) < most);
        let cell = cell.ok_or_else(|| self.too_many())?;
        self.cells.push(Cell { item, next: END });
        if items.last == END {
            items.first = cell;
        } else {
            self.cells[items.last as usize].next = cell;
        }
        items.last = cell;
        items.len += 1;
        Ok(())
    }

    pub(crate) fn extend(&mut self, mut items: Items, values: &[NodeId]) -> Result<Items, PickleError> {
        for &value in values {
            self.push(&mut items, value)?;
        }
        Ok(items)
    }

    /// The value at a cursor and the cursor after it.
    pub(crate) fn next(&self, cursor: Cursor) -> Option<(NodeId, Cursor)> {
        let cell = self.cells.get(cursor.0 as usize)?;
        Some((cell.item, Cursor(cell.next)))
    }

    pub(crate) fn items(&self, items: Items) -> impl Iterator<Item = NodeId> + '_ {
        let mut cursor = items.start();
        std::iter::from_fn(move || {
            let (item, next) = self.next(cursor)?;
            cursor = next;
            Some(item)
        })
    }
}

/// A piece of the input, or of the text that was decoded from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, len: 0 };

    /// A piece of the input, whose length `Limits` keeps within 32 bits.
    pub(crate) fn new(start: usize, len: usize) -> Result<Self, PickleError> {
        let limit = u32::MAX as usize;
        let narrow = |n| u32::try_from(n).map_err(|_| PickleError::TooLarge { limit });
        Ok(Self { start: narrow(start)?, len: narrow(len)? })
    }
}

/// What spans refer to: the input and, behind it, the text that had to be decoded.
#[derive(Debug)]
pub(crate) struct Text<'p> {
    input: &'p [u8],
    decoded: Vec<u8>,
}

impl<'p> Text<'p> {
    pub(crate) fn new(input: &'p [u8]) -> Self {
        Self { input, decoded: Vec::new() }
    }

    pub(crate) fn get(&self, span: Span) -> &[u8] {
        let (start, len) = (span.start as usize, span.len as usize);
        match start.checked_sub(self.input.len()) {
            None => &self.input[start..start + len],
            Some(start) => &self.decoded[start..start + len],
        }
    }

    /// What the decoded text takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.decoded.capacity()
    }

    pub(crate) fn add(&mut self, text: &[u8]) -> Result<Span, PickleError> {
        let span = Span::new(self.input.len() + self.decoded.len(), text.len())?;
        self.decoded.extend_from_slice(text);
        Ok(span)
    }
}
