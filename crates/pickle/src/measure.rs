//! How large the JSON of a decoded pickle is, before any of it is written.
//!
//! Every value is visited once and its size computed from those of its members, so that a pickle
//! which is small only because it refers to the same values over and over is refused in time and
//! memory proportional to the pickle. On the way in, equal keys of dicts and equal members of sets
//! are merged, since that decides what is written. It writes nothing.

use super::arena::{Cursor, Graph, Items, Node, NodeId, Text};
use super::decode::Decoded;
use super::emit::{Shape, leaf_len};
use super::keys::{KeyId, Keys};
use super::memory::Memory;
use super::{Limits, PickleError};

/// Returns the exact length of the JSON in bytes.
///
/// # Errors
/// [`PickleError`] when it would exceed `most_output` or the limits of depth and number, when a
/// value contains itself, when a key is unhashable, or when an imported name is left as a value.
pub(crate) fn measure(
    decoded: &mut Decoded<'_>,
    most_output: u32,
    limits: &Limits,
    memory: &mut Memory<'_>,
) -> Result<usize, PickleError> {
    let decoded_bytes = decoded.graph.memory_bytes() + decoded.text.memory_bytes();
    let base_bytes = decoded_bytes + decoded.graph.len() * size_of::<Size>();
    memory.need(base_bytes)?;
    let sizes = vec![Size::NEW; decoded.graph.len()];
    let mut walk = Walk {
        graph: &mut decoded.graph,
        keys: Keys::new(&decoded.text, limits.most_depth()),
        text: &decoded.text,
        sizes,
        path: Vec::new(),
        levels: 0,
        seen: Vec::new(),
        memory,
        base_bytes,
        looks: 0,
        most_output,
        most_depth: limits.most_depth(),
        most_values: limits.most_values(),
    };
    walk.run(decoded.root).map(|size| size.bytes as usize)
}

/// What is known of a value.
#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u32,
    values: u32,
    depth: u16,
    state: State,
}

impl Size {
    const NEW: Self = Self { bytes: 0, values: 1, depth: 0, state: State::New };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// Its members are being visited: to meet it now is to find it within itself.
    Open,
    Done,
}

/// A container whose members are being visited.
#[derive(Debug)]
struct Frame {
    id: NodeId,
    shape: Shape,
    cursor: Cursor,
    index: usize,
    size: Size,
}

/// Which container last had a key, and where.
#[derive(Debug, Clone, Copy)]
struct Seen {
    owner: NodeId,
    place: usize,
}

struct Walk<'t, 'm, 'r> {
    graph: &'t mut Graph,
    keys: Keys<'t>,
    text: &'t Text<'t>,
    sizes: Vec<Size>,
    path: Vec<Frame>,
    /// The JSON levels of the path.
    levels: u16,
    /// By number of key.
    seen: Vec<Seen>,
    memory: &'m mut Memory<'r>,
    /// What the decoded values take, and their sizes.
    base_bytes: usize,
    /// How many keys were looked at.
    looks: usize,
    most_output: u32,
    most_depth: u16,
    most_values: u32,
}

impl Walk<'_, '_, '_> {
    fn run(&mut self, root: NodeId) -> Result<Size, PickleError> {
        let mut done = self.enter(root)?;
        loop {
            if let Some(size) = done {
                let Some(mut frame) = self.path.pop() else {
                    return Ok(size);
                };
                self.count(&mut frame, size)?;
                self.path.push(frame);
            }
            done = self.step()?;
        }
    }

    /// Meets a value: its size if it is known or has no members, else its members come next.
    fn enter(&mut self, id: NodeId) -> Result<Option<Size>, PickleError> {
        let known = self.sizes[id.index()];
        match known.state {
            State::Done => return Ok(Some(known)),
            State::Open => return Err(PickleError::ContainsItself),
            State::New => {}
        }
        self.merge(id)?;
        let Some((shape, items)) = Shape::of(self.graph.node(id)) else {
            return self.leaf(id).map(Some);
        };
        self.levels += shape.levels();
        self.check_depth(self.levels)?;
        let mut size = Size { state: State::Open, ..Size::NEW };
        self.sizes[id.index()] = size;
        let brackets = shape.open().len() + shape.close().len();
        size.bytes = self.bytes(0, brackets)?;
        self.path.push(Frame { id, shape, cursor: items.start(), index: 0, size });
        Ok(None)
    }

    fn leaf(&mut self, id: NodeId) -> Result<Size, PickleError> {
        let (len, depth) = leaf_len(self.graph.node(id), self.text)?;
        self.check_depth(self.levels + depth)?;
        let bytes = self.bytes(0, len)?;
        let size = Size { bytes, values: 1, depth, state: State::Done };
        self.sizes[id.index()] = size;
        Ok(size)
    }

    /// Goes to the next member of the innermost container, or completes it.
    fn step(&mut self) -> Result<Option<Size>, PickleError> {
        let Some(mut frame) = self.path.pop() else {
            return Ok(None);
        };
        if let Some((item, next)) = self.graph.next(frame.cursor) {
            frame.cursor = next;
            self.path.push(frame);
            return self.enter(item);
        }
        let levels = frame.shape.levels();
        self.levels -= levels;
        let mut size = frame.size;
        size.depth += levels;
        size.state = State::Done;
        self.check_depth(size.depth)?;
        self.sizes[frame.id.index()] = size;
        Ok(Some(size))
    }

    /// Adds a member's size to its container's.
    fn count(&self, frame: &mut Frame, member: Size) -> Result<(), PickleError> {
        let size = &mut frame.size;
        let len = member.bytes as usize + frame.shape.before(frame.index).len();
        size.bytes = self.bytes(size.bytes, len)?;
        size.depth = size.depth.max(member.depth);
        size.values = size.values.saturating_add(member.values);
        if size.values > self.most_values {
            return Err(PickleError::TooManyValues { limit: self.most_values as usize });
        }
        frame.index += 1;
        Ok(())
    }

    fn bytes(&self, so_far: u32, more: usize) -> Result<u32, PickleError> {
        let sum = u32::try_from(more).ok().and_then(|more| so_far.checked_add(more));
        let limit = self.most_output as usize;
        sum.filter(|&sum| sum <= self.most_output).ok_or(PickleError::TooMuchOutput { limit })
    }

    fn check_depth(&self, depth: u16) -> Result<(), PickleError> {
        if depth > self.most_depth {
            return Err(PickleError::TooDeep { limit: self.most_depth.into() });
        }
        Ok(())
    }

    /// Merges what Python's dict and set would, and settles how a dict is written.
    fn merge(&mut self, id: NodeId) -> Result<(), PickleError> {
        match self.graph.node(id) {
            Node::Set(items) => {
                let members = self.merged_members(id, items)?;
                self.graph.set(id, Node::Set(members));
            }
            Node::FrozenSet(items) => {
                let members = self.merged_members(id, items)?;
                self.graph.set(id, Node::FrozenSet(members));
            }
            Node::Dict(items) => {
                let merged = self.merged_dict(id, items)?;
                self.graph.set(id, merged);
            }
            Node::None
            | Node::Bool(_)
            | Node::Int(_)
            | Node::BigInt(_)
            | Node::Float(_)
            | Node::Str(_)
            | Node::Bytes(_)
            | Node::ByteArray(_)
            | Node::Tuple(_)
            | Node::List(_)
            | Node::Pairs(_)
            | Node::Function(_) => {}
        }
        Ok(())
    }

    /// The first of each group of equal members.
    fn merged_members(&mut self, owner: NodeId, items: Items) -> Result<Items, PickleError> {
        let mut kept = Vec::with_capacity(items.len());
        let mut cursor = items.start();
        while let Some((item, next)) = self.graph.next(cursor) {
            let key = self.keys.number(self.graph, item)?;
            self.look()?;
            if self.first_place(owner, key, kept.len()).is_none() {
                kept.push(item);
            }
            cursor = next;
        }
        self.rebuilt(items, &kept)
    }

    /// Every key at its first place, with its last value.
    fn merged_dict(&mut self, owner: NodeId, items: Items) -> Result<Node, PickleError> {
        let mut kept = Vec::with_capacity(items.len());
        let mut plain = true;
        let mut cursor = items.start();
        while let Some((key, after)) = self.graph.next(cursor) {
            let Some((value, next)) = self.graph.next(after) else {
                break;
            };
            let number = self.keys.number(self.graph, key)?;
            self.look()?;
            match self.first_place(owner, number, kept.len()) {
                Some(place) => kept[place + 1] = value,
                None => {
                    plain &= self.is_plain_key(key);
                    kept.extend([key, value]);
                }
            }
            cursor = next;
        }
        let items = self.rebuilt(items, &kept)?;
        Ok(if plain { Node::Dict(items) } else { Node::Pairs(items) })
    }

    /// Asks for the memory of the keys now and then.
    fn look(&mut self) -> Result<(), PickleError> {
        const BETWEEN_LOOKS: usize = 1_024;
        self.looks += 1;
        if !self.looks.is_multiple_of(BETWEEN_LOOKS) {
            return Ok(());
        }
        let seen = self.seen.capacity() * size_of::<Seen>();
        self.memory.need(self.base_bytes + self.keys.memory_bytes() + seen)
    }

    /// Where this container already had an equal key; if it did not, it has it at `place` now.
    fn first_place(&mut self, owner: NodeId, key: KeyId, place: usize) -> Option<usize> {
        if self.seen.len() <= key.index() {
            let never = Seen { owner: NodeId::NONE, place: 0 };
            self.seen.resize(key.index() + 1, never);
        }
        let seen = &mut self.seen[key.index()];
        if seen.owner == owner {
            return Some(seen.place);
        }
        *seen = Seen { owner, place };
        None
    }

    fn rebuilt(&mut self, items: Items, kept: &[NodeId]) -> Result<Items, PickleError> {
        if kept.len() == items.len() {
            return Ok(items);
        }
        self.graph.extend(Items::EMPTY, kept)
    }

    fn is_plain_key(&self, key: NodeId) -> bool {
        let Node::Str(span) = self.graph.node(key) else {
            return false;
        };
        !self.text.get(span).starts_with(b"$")
    }
}
