//! When two dict keys or set members are equal, by Python's rules.
//!
//! Every distinct value gets a number, built from the bottom: a tuple is known by the numbers of its
//! members. Two values are equal when their numbers are, so that comparing costs nothing however
//! often a key refers to the same tuple twice, and the whole takes time in proportion to the pickle.

use std::borrow::Cow;
use std::collections::HashMap;

use super::PickleError;
use super::arena::{Graph, Items, Node, NodeId, Text};

/// The number of a distinct value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId(u32);

impl KeyId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a value is as a key: equal if and only if Python finds the values equal.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key<'t> {
    None,
    /// Also False, True and whole floats, which equal their int in Python.
    Int(i64),
    BigInt(Cow<'t, [u8]>),
    /// The bits of a float that is no whole number.
    Float(u64),
    /// Equal to nothing but the very same object.
    Nan(NodeId),
    Str(&'t [u8]),
    Bytes(&'t [u8]),
    Tuple(Vec<KeyId>),
    /// Sorted, each once.
    FrozenSet(Vec<KeyId>),
}

/// All keys of a pickle.
#[derive(Debug)]
pub(crate) struct Keys<'t> {
    text: &'t Text<'t>,
    numbers: HashMap<Key<'t>, KeyId>,
    known: HashMap<NodeId, KeyId>,
    /// What the keys themselves take that are lists of others.
    member_bytes: usize,
    most_depth: u16,
}

impl<'t> Keys<'t> {
    pub(crate) fn new(text: &'t Text<'t>, most_depth: u16) -> Self {
        Self { text, numbers: HashMap::new(), known: HashMap::new(), member_bytes: 0, most_depth }
    }

    /// What the tables take, with the room for them to grow.
    pub(crate) fn memory_bytes(&self) -> usize {
        const A_KEY_BYTES: usize = 64;
        const A_VALUE_BYTES: usize = 16;
        self.numbers.capacity() * A_KEY_BYTES + self.known.capacity() * A_VALUE_BYTES + self.member_bytes
    }

    /// The number of a value.
    ///
    /// # Errors
    /// [`PickleError::Unhashable`] for lists, dicts, sets and bytearrays, also within a tuple;
    /// [`PickleError::TooDeep`] for tuples deeper than a pickle may be.
    pub(crate) fn number(&mut self, graph: &Graph, id: NodeId) -> Result<KeyId, PickleError> {
        if let Some(&number) = self.known.get(&id) {
            return Ok(number);
        }
        // Values whose number is asked for, the innermost last, with their depth in the first. A
        // tuple is younger than its members, so that this cannot go round in circles.
        let mut asked = vec![(id, 0)];
        loop {
            let Some(&last) = asked.last() else {
                return Ok(self.known[&id]);
            };
            if self.known.contains_key(&last.0) || self.settle(graph, last, &mut asked)? {
                asked.pop();
            }
        }
    }

    /// Numbers one value, or asks for its members and returns false.
    fn settle(
        &mut self,
        graph: &Graph,
        (id, depth): (NodeId, u16),
        asked: &mut Vec<(NodeId, u16)>,
    ) -> Result<bool, PickleError> {
        let text = self.text;
        let key = match graph.node(id) {
            Node::None => Key::None,
            Node::Bool(value) => Key::Int(value.into()),
            Node::Int(value) => Key::Int(value),
            Node::BigInt(digits) => Key::BigInt(Cow::Borrowed(text.get(digits))),
            Node::Float(value) => float_key(value, id),
            Node::Str(span) => Key::Str(text.get(span)),
            Node::Bytes(span) => Key::Bytes(text.get(span)),
            Node::Tuple(items) => match self.members(graph, items, depth, asked)? {
                Some(members) => Key::Tuple(members),
                None => return Ok(false),
            },
            Node::FrozenSet(items) => match self.members(graph, items, depth, asked)? {
                Some(mut members) => {
                    members.sort_unstable();
                    members.dedup();
                    Key::FrozenSet(members)
                }
                None => return Ok(false),
            },
            Node::ByteArray(_) => return unhashable("a bytearray"),
            Node::List(_) => return unhashable("a list"),
            Node::Set(_) => return unhashable("a set"),
            Node::Dict(_) | Node::Pairs(_) => return unhashable("a dict"),
            Node::Function(function) => {
                return Err(PickleError::Function { name: function.name() });
            }
        };
        if let Key::Tuple(members) | Key::FrozenSet(members) = &key {
            self.member_bytes += members.capacity() * size_of::<KeyId>();
        }
        let next = KeyId(u32::try_from(self.numbers.len()).map_err(|_| graph.too_many())?);
        let number = *self.numbers.entry(key).or_insert(next);
        self.known.insert(id, number);
        Ok(true)
    }

    /// The numbers of a container's members, if all are known; asks for those that are not.
    fn members(
        &self,
        graph: &Graph,
        items: Items,
        depth: u16,
        asked: &mut Vec<(NodeId, u16)>,
    ) -> Result<Option<Vec<KeyId>>, PickleError> {
        if depth >= self.most_depth {
            return Err(PickleError::TooDeep { limit: self.most_depth.into() });
        }
        let before = asked.len();
        let unknown = graph.items(items).filter(|item| !self.known.contains_key(item));
        asked.extend(unknown.map(|item| (item, depth + 1)));
        if asked.len() > before {
            return Ok(None);
        }
        Ok(Some(graph.items(items).map(|item| self.known[&item]).collect()))
    }
}

fn unhashable(kind: &'static str) -> Result<bool, PickleError> {
    Err(PickleError::Unhashable { kind })
}

fn float_key(value: f64, id: NodeId) -> Key<'static> {
    // 2^63, the first float beyond 64-bit integers.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if value.is_nan() {
        Key::Nan(id)
    } else if value.is_infinite() || value.fract() != 0.0 {
        Key::Float(value.to_bits())
    } else if (-BEYOND..BEYOND).contains(&value) {
        Key::Int(value as i64)
    } else {
        // Exact: every digit of the number, as the text of an int has.
        Key::BigInt(Cow::Owned(format!("{value:.0}").into_bytes()))
    }
}
