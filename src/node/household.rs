//! What a node does again and again beside its calls: it stores heartbeats, tells when somebody sets the wall clock, and
//! deletes what has been history for long enough, or is more than what is kept of one customer.
//!
//! History ages on the desk's own timeline. A wall clock that jumps is told in the log, and deletes nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::kept_logs::KeptLogs;
use crate::clock::{Clock, Heartbeat};
use crate::config::InForce;
use crate::events::EventLog;
use crate::id::SessionId;
use crate::shutdown::Tasks;
use crate::store::{Store, StoreError};

const BETWEEN_BEATS: Duration = Duration::from_secs(10);
/// Sessions that are deleted in one transaction.
const AT_ONCE: usize = 1_000;
/// A time server moves a clock by less than that between two heartbeats.
const SET_MILLIS: u64 = 2_000;

/// The state between two rounds.
pub(super) struct Household {
    settings: InForce,
    store: Arc<dyn Store>,
    events: EventLog,
    clock: Arc<dyn Clock>,
    logs: KeptLogs,
    /// The last heartbeat: the one before this server's start, if there was one.
    last: Option<Heartbeat>,
}

impl Household {
    pub(super) fn new(
        settings: &InForce,
        store: &Arc<dyn Store>,
        events: &EventLog,
        clock: &Arc<dyn Clock>,
        logs: KeptLogs,
    ) -> Self {
        let (settings, store, events, clock) = (settings.clone(), Arc::clone(store), events.clone(), Arc::clone(clock));
        let last = store.desk().last_heartbeat.clone();
        Self { settings, store, events, clock, logs, last }
    }

    /// Goes on until the server drains.
    pub(super) async fn run(mut self, tasks: Tasks) {
        loop {
            self.beat().await;
            if let Err(error) = self.prune(&tasks).await {
                tracing::warn!(error = %error, "history not pruned");
            }
            tokio::select! {
                () = tasks.draining() => return,
                () = self.clock.sleep_until(self.clock.now() + BETWEEN_BEATS) => {}
            }
        }
    }

    async fn beat(&mut self) {
        let beat = self.clock.heartbeat();
        let by = self.last.as_ref().and_then(|last| beat.wall_was_set_by(last)).unwrap_or_default();
        if by.unsigned_abs() > SET_MILLIS {
            let time = humantime::format_duration(Duration::from_secs(by.unsigned_abs() / 1_000)).to_string();
            let way = if by < 0 { "back" } else { "ahead" };
            tracing::warn!(by = time, way, wall = %beat.wall,
                "the wall clock was set; sessions and history go on by the desk's own time");
        }
        if let Err(error) = self.store.beat(beat.clone()).await {
            tracing::warn!(error = %error, "heartbeat not stored");
        }
        self.last = Some(beat);
    }

    async fn prune(&self, tasks: &Tasks) -> Result<(), StoreError> {
        while !tasks.is_draining() && self.forget_some().await? {}
        while !tasks.is_draining() && self.count_some().await? {}
        Ok(())
    }

    /// Counts what is kept of some of the sessions that ended lately, and deletes what is too much of their customers'; whether
    /// there may be more to count.
    async fn count_some(&self) -> Result<bool, StoreError> {
        let ended = self.store.uncounted_history(AT_ONCE).await?;
        let is_full = ended.len() == AT_ONCE;
        if ended.is_empty() {
            return Ok(false);
        }
        let keep = self.settings.get().history.per_customer;
        let sizes = self.with_logs(self.events.sizes(ended).await?).await;
        for customer in self.store.count_history(sizes).await? {
            loop {
                let surplus = self.store.surplus_history(&customer, keep, AT_ONCE).await?;
                let is_last = surplus.len() < AT_ONCE;
                self.forget(surplus).await?;
                if is_last {
                    break;
                }
            }
        }
        Ok(is_full)
    }

    /// The same sizes with what is kept of the sessions' logs.
    async fn with_logs(&self, mut sizes: Vec<(SessionId, u64)>) -> Vec<(SessionId, u64)> {
        let (logs, events_only) = (self.logs.clone(), sizes.clone());
        let counted = tokio::task::spawn_blocking(move || {
            sizes.iter_mut().for_each(|(session, size)| *size += logs.size(*session));
            sizes
        });
        counted.await.unwrap_or(events_only)
    }

    /// Deletes some of the sessions that have been history for `history.keep`; whether there may be more.
    async fn forget_some(&self) -> Result<bool, StoreError> {
        let before = self.clock.now() - self.settings.get().history.keep;
        let old = self.store.old_history(before, AT_ONCE).await?;
        let is_full = old.len() == AT_ONCE;
        self.forget(old).await?;
        Ok(is_full)
    }

    async fn forget(&self, old: Vec<SessionId>) -> Result<(), StoreError> {
        if old.is_empty() {
            return Ok(());
        }
        // Events go first: a crash in between leaves a session without events, and never events without a session.
        self.events.forget(old.clone()).await?;
        self.store.delete_history(old.clone()).await?;
        // Logs go last: a crash in between leaves files that the next start removes, and never a row without its log.
        let (logs, gone) = (self.logs.clone(), old.clone());
        let removed = tokio::task::spawn_blocking(move || gone.into_iter().for_each(|session| logs.remove(session)));
        if let Err(error) = removed.await {
            tracing::warn!(error = %error, "removing kept logs panicked");
        }
        // A reader may have appended the end of one of them meanwhile.
        self.events.forget(self.events.kept(old).await?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::config::Config;
    use crate::data_dir::DataDir;
    use crate::id::{CustomerKey, Revision};
    use crate::session::{Ending, NewSession, Outcome, Phase, Reason, SessionData, SessionRecord};
    use crate::shim::place::Place;
    use crate::store::sqlite::SqliteStore;
    use crate::token::TokenHash;

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test]
    async fn a_wall_clock_31_days_ahead_deletes_no_history_and_31_days_of_the_desks_time_do() {
        let desk = Desk::new();
        let session = desk.ended_session().await;
        let mut household = desk.household(Config::default());
        household.beat().await;

        desk.manual.set_wall_ahead(31 * DAY);
        desk.manual.advance(Duration::from_secs(10));
        household.beat().await;
        household.prune(&Tasks::default()).await.unwrap();
        assert!(desk.store.session(session).await.unwrap().is_some());

        desk.manual.set_wall_ahead(Duration::ZERO);
        desk.manual.advance(31 * DAY);
        household.prune(&Tasks::default()).await.unwrap();
        assert!(desk.store.session(session).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn of_a_customer_who_ended_too_much_the_oldest_sessions_go_with_their_events() {
        let desk = Desk::new();
        let mut config = Config::default();
        config.history.per_customer = 3_000;
        let household = desk.household(config);
        let mut ended = Vec::new();
        for _ in 0..4 {
            ended.push(desk.ended_session().await);
            desk.manual.advance(Duration::from_secs(1));
        }

        household.prune(&Tasks::default()).await.unwrap();

        let mut kept = Vec::new();
        for session in &ended {
            kept.push(desk.store.session(*session).await.unwrap().is_some());
        }
        assert_eq!(kept, [false, false, true, true]);
    }

    #[tokio::test]
    async fn kept_logs_count_as_history_and_go_with_it() {
        let desk = Desk::new();
        let mut config = Config::default();
        config.history.per_customer = 10_000;
        let household = desk.household(config);
        let mut ended = Vec::new();
        for _ in 0..3 {
            ended.push(desk.ended_session().await);
            desk.keep_log(ended[ended.len() - 1], 6_000);
            desk.manual.advance(Duration::from_secs(1));
        }

        household.count_some().await.unwrap();

        let kept = ended.iter().map(|session| desk.logs().size(*session));
        assert_eq!(kept.collect::<Vec<_>>(), [0, 0, 6_000]);
        for (n, session) in ended.iter().enumerate() {
            assert_eq!(desk.store.session(*session).await.unwrap().is_some(), n == 2);
        }
    }

    #[tokio::test]
    async fn a_start_removes_logs_of_sessions_that_have_not_ended_with_one_and_leaves_the_others() {
        let desk = Desk::new();
        let [with, without] = [desk.failed_session(9).await, desk.ended_session().await];
        let unknown = SessionId::new(desk.manual.wall(), [9; 10]);
        for session in [with, without, unknown] {
            desk.keep_log(session, 9);
        }
        let directory = desk.root.path().join("logs");
        std::fs::write(directory.join(format!("{with}.part")), "x").unwrap();
        std::fs::write(directory.join("notes.txt"), "x").unwrap();

        desk.logs().remove_strays(&*desk.store).await;

        let mut left: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        left.sort();
        assert_eq!(left, [directory.join(format!("{with}.log")), directory.join("notes.txt")]);
    }

    /// A store, a log and a clock, for a household to look after.
    struct Desk {
        root: tempfile::TempDir,
        store: Arc<dyn Store>,
        events: EventLog,
        manual: ManualClock,
    }

    impl Desk {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let directory = DataDir::open(root.path()).unwrap();
            let store = Arc::new(SqliteStore::open(directory.paths()).unwrap());
            let events = EventLog::open(directory.paths(), 1 << 20).unwrap();
            let manual = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
            Self { root, store, events, manual }
        }

        fn household(&self, config: Config) -> Household {
            let clock: Arc<dyn Clock> = Arc::new(self.manual.clone());
            Household::new(&InForce::new(config), &self.store, &self.events, &clock, self.logs())
        }

        fn logs(&self) -> KeptLogs {
            KeptLogs::new(self.root.path().join("logs"))
        }

        /// Keeps a log of so many bytes.
        fn keep_log(&self, session: SessionId, bytes: usize) {
            let place = Place::new(&self.root.path().join("place"));
            place.make().unwrap();
            std::fs::write(place.log(), "x".repeat(bytes)).unwrap();
            self.logs().keep(session, &place, 1 << 20).unwrap();
        }

        async fn ended_session(&self) -> SessionId {
            self.session_ended_as(Outcome::Stopped, 0).await
        }

        async fn failed_session(&self, log_bytes: u32) -> SessionId {
            self.session_ended_as(Outcome::Failed, log_bytes).await
        }

        async fn session_ended_as(&self, outcome: Outcome, log_bytes: u32) -> SessionId {
            let record = SessionRecord {
                id: SessionId::new(self.manual.wall(), crate::random::bytes()),
                customer: CustomerKey::new("ann"),
                email: None,
                persona: "SALES".into(),
                created: self.manual.wall(),
                revision: Revision::FIRST,
                phase: Phase::admitted(self.manual.now() + DAY),
            };
            let new = NewSession {
                record: record.clone(),
                data: SessionData::Inline("{}".into()),
                token: TokenHash([1; 32]),
                origin: None,
                key: None,
                account: None,
            };
            self.store.admit(new).await.unwrap();
            let ending = Ending { outcome, reason: Reason::new("asked to") };
            let ended = record.after(Phase::Ended { epoch: record.phase.epoch(), ending, log_bytes });
            self.store.put(ended, self.manual.now()).await.unwrap();
            record.id
        }
    }
}
