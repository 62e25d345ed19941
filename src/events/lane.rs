//! Lanes: how much of each session may wait for the writer, and in which order it gets there.
//!
//! An agent that says more than the disk takes fills its own lane and then waits; only many full lanes together fill
//! the whole. A lane breaks when the writer fails one of its events: whatever of the session is under way then fails
//! as well, and the lane is whole again once nobody is left in it. So a later event is never stored in place of an
//! earlier one that was lost.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::id::SessionId;
use crate::store::StoreError;

/// Bytes that may wait in one lane, and in all of them; a larger event waits alone.
const LANE_BYTES: usize = 1 << 20;
const WHOLE_BYTES: usize = 64 << 20;
/// An event takes at least this much room: 1,024 of one session may wait, 65,536 of all.
const LEAST_BYTES: usize = 1 << 10;
/// Lanes beyond which idle ones are looked for.
const IDLE_LANES: usize = 1_024;

/// The lanes of all sessions.
#[derive(Debug)]
pub(super) struct Lanes {
    table: Mutex<Table>,
    whole: Arc<Semaphore>,
}

#[derive(Debug)]
struct Table {
    lanes: HashMap<SessionId, Arc<Lane>>,
    most: usize,
}

/// One session's lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Held while waiting for room, so that who comes later doesn't find it first.
    turn: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often the lane broke.
    breaks: u64,
    /// Whether somebody is in it, or may be, who was in it when it broke.
    broken: bool,
}

/// An event's place in its lane, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    lane: Arc<Lane>,
    /// How often the lane had broken when the event came into it.
    breaks: u64,
    _room: OwnedSemaphorePermit,
    _whole: OwnedSemaphorePermit,
}

impl Lanes {
    pub(super) fn new() -> Self {
        let table = Table { lanes: HashMap::new(), most: IDLE_LANES };
        Self { table: Mutex::new(table), whole: Arc::new(Semaphore::new(WHOLE_BYTES)) }
    }

    /// The session's lane.
    pub(super) fn of(&self, session: SessionId) -> Arc<Lane> {
        let mut table = self.table.lock();
        if table.lanes.len() >= table.most {
            table.lanes.retain(|_, lane| !lane.is_idle());
            table.most = (table.lanes.len() * 2).max(IDLE_LANES);
        }
        Arc::clone(table.lanes.entry(session).or_default())
    }

    /// The room that all lanes share.
    pub(super) fn whole(&self) -> &Arc<Semaphore> {
        &self.whole
    }
}

impl Default for Lane {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(LANE_BYTES));
        Self { turn: tokio::sync::Mutex::default(), room, state: Mutex::default() }
    }
}

impl Lane {
    /// Completes when there is room for so many bytes, in the order of the first polls. Fails while somebody is in the
    /// lane who was in it when it broke.
    pub(super) async fn enter(self: &Arc<Self>, bytes: usize, whole: &Arc<Semaphore>) -> Result<Place, StoreError> {
        const NEVER_CLOSED: &str = "the semaphores of lanes are never closed";
        let breaks = self.join()?;
        let bytes = u32::try_from(bytes.clamp(LEAST_BYTES, LANE_BYTES)).unwrap_or(u32::MAX);
        let _turn = self.turn.lock().await;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.expect(NEVER_CLOSED);
        let whole = Arc::clone(whole).acquire_many_owned(bytes).await.expect(NEVER_CLOSED);
        Ok(Place { lane: Arc::clone(self), breaks, _room: room, _whole: whole })
    }

    fn join(self: &Arc<Self>) -> Result<u64, StoreError> {
        // The table and the caller.
        const ALONE: usize = 2;
        let mut state = self.state();
        if state.broken && Arc::strong_count(self) > ALONE {
            return Err(left_behind());
        }
        state.broken = false;
        Ok(state.breaks)
    }

    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Place {
    /// Breaks the lane: the event was not stored.
    pub(super) fn break_lane(&self) {
        let mut state = self.lane.state();
        state.breaks += 1;
        state.broken = true;
    }

    /// Fails if the lane broke after the event came into it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.lane.state().breaks == self.breaks { Ok(()) } else { Err(left_behind()) }
    }
}

fn left_behind() -> StoreError {
    StoreError::Unavailable("an earlier event of the session was not stored".into())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::clock::WallTime;

    #[tokio::test]
    async fn a_full_lane_holds_up_its_own_session_and_no_other() {
        let lanes = Lanes::new();
        let (full, other) = (lanes.of(id(1)), lanes.of(id(2)));
        let place = full.enter(LANE_BYTES, lanes.whole()).await.unwrap();
        let mut second = pin!(full.enter(1, lanes.whole()));
        assert!(!is_ready(second.as_mut()).await);
        other.enter(LANE_BYTES, lanes.whole()).await.unwrap();
        drop(place);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn who_needs_little_room_does_not_pass_who_came_before_and_needs_much() {
        let lanes = Lanes::new();
        let lane = lanes.of(id(1));
        let place = lane.enter(LANE_BYTES / 2, lanes.whole()).await.unwrap();
        let mut large = pin!(lane.enter(LANE_BYTES * 9, lanes.whole()));
        assert!(!is_ready(large.as_mut()).await);
        let mut small = pin!(lane.enter(1, lanes.whole()));
        assert!(!is_ready(small.as_mut()).await);
        drop(place);
        let large = large.await.unwrap();
        assert!(!is_ready(small.as_mut()).await);
        drop(large);
        small.await.unwrap();
    }

    #[tokio::test]
    async fn a_broken_lane_fails_all_that_are_in_it_and_is_whole_once_they_have_gone() {
        let lanes = Lanes::new();
        let lane = lanes.of(id(1));
        let [first, second] =
            [lane.enter(1, lanes.whole()).await.unwrap(), lane.enter(1, lanes.whole()).await.unwrap()];
        first.break_lane();
        assert!(second.check().is_err());
        drop(first);
        assert!(lane.enter(1, lanes.whole()).await.is_err());
        drop(second);
        lane.enter(1, lanes.whole()).await.unwrap().check().unwrap();
    }

    #[tokio::test]
    async fn lanes_that_nobody_is_in_are_not_kept() {
        let lanes = Lanes::new();
        let busy = lanes.of(id(1));
        for n in 0..=u16::try_from(IDLE_LANES).unwrap() {
            lanes.of(SessionId::new(WallTime::from_unix_millis(i64::from(n) + 2), [0; 10]));
        }
        assert!(lanes.table.lock().lanes.len() < IDLE_LANES);
        assert!(Arc::ptr_eq(&busy, &lanes.of(id(1))));
    }

    async fn is_ready<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
    }

    fn id(n: u8) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [n; 10])
    }
}
