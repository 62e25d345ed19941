//! The memo of a pickle: numbered values that later opcodes refer to.

use std::collections::HashMap;

use super::arena::NodeId;

/// Values by number. Picklers number them in sequence, from 0 or (Python 2) from 1; a number out of
/// sequence goes to a map, so that `PUT 4000000000` takes no more room than any other.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    dense: Vec<NodeId>,
    sparse: HashMap<u64, NodeId>,
    len: u64,
}

impl Memo {
    /// How many values are stored.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    /// What the tables take.
    pub(crate) fn memory_bytes(&self) -> usize {
        const A_SPARSE_VALUE_BYTES: usize = 24;
        self.dense.capacity() * size_of::<NodeId>() + self.sparse.capacity() * A_SPARSE_VALUE_BYTES
    }

    pub(crate) fn get(&self, number: u64) -> Option<NodeId> {
        let dense = usize::try_from(number).ok().and_then(|index| self.dense.get(index));
        match dense {
            Some(&id) if id != NodeId::NONE => Some(id),
            _ => self.sparse.get(&number).copied(),
        }
    }

    pub(crate) fn put(&mut self, number: u64, id: NodeId) {
        if self.get(number).is_none() {
            self.len += 1;
        }
        match usize::try_from(number) {
            Ok(index) if index < self.dense.len() => self.dense[index] = id,
            Ok(index) if index <= self.dense.len() + 1 => {
                self.dense.resize(index, NodeId::NONE);
                self.dense.push(id);
            }
            _ => {
                self.sparse.insert(number, id);
            }
        }
    }

    /// Stores a value under the number that MEMOIZE means: how many there are.
    pub(crate) fn memoize(&mut self, id: NodeId) {
        self.put(self.len, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Graph;

    #[test]
    fn a_value_is_found_under_the_number_it_was_last_stored_under() {
        let mut memo = Memo::default();
        for number in [5, 1, 0, 2, 3, 4, 4_000_000_000, u64::MAX] {
            memo.put(number, Graph::small_int((number % 251) as u8));
        }
        memo.put(5, Graph::TRUE);
        memo.memoize(Graph::FALSE);

        assert_eq!(memo.get(5), Some(Graph::TRUE));
        assert_eq!(memo.get(8), Some(Graph::FALSE));
        assert_eq!(memo.get(4_000_000_000), Some(Graph::small_int((4_000_000_000u64 % 251) as u8)));
        assert_eq!(memo.get(6), None);
        assert!(memo.dense.len() < 10);
    }
}
