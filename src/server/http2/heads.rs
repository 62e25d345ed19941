//! The memory that the heads of requests take on one connection.
//!
//! HTTP/2 compresses heads: one byte can stand for a field that was sent before, and a connection has a hundred streams.
//! The library bounds one list. Here all heads that wait for their answers are bounded together, by what they take in
//! memory and not by their length on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::request::Parts;

/// What the heads of one connection may take: 4.5 KiB for each of a hundred streams, and with what the streams take
/// themselves less than a MiB.
const MOST_BYTES: usize = 448 << 10;

/// What a field takes beside its name and value: its places in tables that grow by doubling.
const A_FIELD_BYTES: usize = 192;

/// The heads of one connection. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<AtomicUsize>);

/// The memory of one head; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Head {
    heads: Heads,
    bytes: usize,
}

impl Heads {
    /// Counts the head of one more request; nothing if there is no room for it.
    pub(super) fn enter(&self, parts: &Parts) -> Option<Head> {
        let bytes = memory_bytes(parts);
        let taken = self.0.fetch_add(bytes, Ordering::Relaxed);
        let head = Head { heads: self.clone(), bytes };
        (taken + bytes <= MOST_BYTES).then_some(head)
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.heads.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn memory_bytes(parts: &Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len())
        + parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + A_FIELD_BYTES);
    target + fields.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: usize, value_bytes: usize) -> Parts {
        let value = "v".repeat(value_bytes);
        let request = (0..fields).fold(axum::http::Request::get("/path"), |request, _| request.header("x", &value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_hundred_ordinary_heads_have_room_and_many_short_fields_count_as_what_they_take() {
        let heads = Heads::default();
        let ordinary: Vec<_> = (0..100).map(|_| heads.enter(&head(15, 100))).collect();
        assert!(ordinary.iter().all(Option::is_some));
        drop(ordinary);

        let crowded: Vec<_> = (0..10).map_while(|_| heads.enter(&head(500, 0))).collect();
        assert_eq!(crowded.len(), 4);
        assert!(heads.enter(&head(500, 0)).is_none());
        drop(crowded);
        assert!(heads.enter(&head(500, 0)).is_some());
        assert_eq!(heads.0.load(Ordering::Relaxed), 0);
    }
}
