//! Time as an argument: the desk's own timeline, the wall clock, and a clock that tests move by hand.
//!
//! Durations must not change when somebody sets the wall clock, and must count time that the machine slept. So all
//! deadlines live on a timeline of the desk's own: it advances with the boot-time clock (`CLOCK_BOOTTIME`, see
//! `clock_gettime(2)`), never goes back, and is carried over a restart by a stored [`Heartbeat`]. The wall clock is
//! for people, for ids and for dates that people wrote (an operator's token, a certificate); nothing else is decided by it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use frontdesk_model::time::{NoTime, Timestamp, WallTime};

/// Where the desk's timeline stood at a moment, stored so that the next start can go on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The desk's own time.
    pub now: Timestamp,
    /// The wall clock at that moment.
    pub wall: WallTime,
    /// The boot-time clock at that moment, in microseconds since boot.
    pub since_boot: i64,
    /// Which boot of the machine that was (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

impl Heartbeat {
    /// How far the wall clock was set since `earlier`, in milliseconds: ahead, or back if negative. Nothing if the machine
    /// was started anew in between, when nobody can tell.
    pub fn wall_was_set_by(&self, earlier: &Self) -> Option<i64> {
        let elapsed = self.since_boot.saturating_sub(earlier.since_boot) / 1_000;
        let shown = self.wall.unix_millis().saturating_sub(earlier.wall.unix_millis());
        (self.boot_id == earlier.boot_id).then(|| shown.saturating_sub(elapsed))
    }
}

/// The source of time. Two run in earnest: the system's, and one that tests move by hand.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The desk's own time.
    fn now(&self) -> Timestamp;

    /// The wall clock.
    fn wall(&self) -> WallTime;

    /// What the wall clock shows at that time, or showed, for people to read.
    fn wall_at(&self, at: Timestamp) -> WallTime {
        let (now, wall) = (self.now(), self.wall().unix_millis());
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let ahead = millis(at.saturating_since(now)).saturating_sub(millis(now.saturating_since(at)));
        WallTime::from_unix_millis(wall.saturating_add(ahead))
    }

    /// Completes once `now` has reached `deadline`.
    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// What to store for the next start.
    fn heartbeat(&self) -> Heartbeat;
}

/// The machine's clocks, continued from the last stored heartbeat.
#[derive(Debug)]
pub struct SystemClock {
    offset: i64,
    boot_id: String,
}

impl SystemClock {
    /// Continues the timeline after `last`: within one boot of the machine by the boot-time clock, across a reboot
    /// by the wall time since the heartbeat, never by less than nothing.
    pub fn resume(last: Option<&Heartbeat>) -> Self {
        let boot_id = boot_id();
        let now = resumed_now(last, &boot_id, since_boot(), wall_now());
        Self { offset: now.micros() - since_boot(), boot_id }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(since_boot() + self.offset)
    }

    fn wall(&self) -> WallTime {
        wall_now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // Timers of the runtime stand still while the machine sleeps, so that no nap is longer than this.
            const LONGEST_NAP: Duration = Duration::from_secs(15);
            loop {
                let left = deadline.saturating_since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LONGEST_NAP)).await;
            }
        })
    }

    fn heartbeat(&self) -> Heartbeat {
        let since_boot = since_boot();
        Heartbeat {
            now: Timestamp::from_micros(since_boot + self.offset),
            wall: wall_now(),
            since_boot,
            boot_id: self.boot_id.clone(),
        }
    }
}

fn resumed_now(last: Option<&Heartbeat>, boot_id: &str, since_boot: i64, wall: WallTime) -> Timestamp {
    let Some(last) = last else {
        return Timestamp::from_micros(wall.unix_millis().saturating_mul(1_000));
    };
    let elapsed = if last.boot_id == boot_id {
        since_boot.saturating_sub(last.since_boot)
    } else {
        wall.unix_millis().saturating_sub(last.wall.unix_millis()).saturating_mul(1_000)
    };
    Timestamp::from_micros(last.now.micros().saturating_add(elapsed.max(0)))
}

/// The boot-time clock as it is. It is a timeline of its own, for processes that live within one boot and without a store.
pub fn boot_time() -> Timestamp {
    Timestamp::from_micros(since_boot())
}

fn since_boot() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

fn wall_now() -> WallTime {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    WallTime::from_unix_millis(time.tv_sec * 1_000 + time.tv_nsec / 1_000_000)
}

/// Which boot of the machine this is; empty if the system does not say.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// A clock that stands still until a test moves it.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<watch::Sender<Timestamp>>,
    /// How far the wall clock is ahead of the desk's time, in milliseconds.
    wall_ahead: Arc<AtomicI64>,
}

impl ManualClock {
    /// Starts at `now`; the wall clock shows the same instant.
    pub fn new(now: Timestamp) -> Self {
        Self { now: Arc::new(watch::Sender::new(now)), wall_ahead: Arc::default() }
    }

    /// Sets the wall clock, and it alone, so far ahead of the desk's time.
    pub fn set_wall_ahead(&self, by: Duration) {
        self.wall_ahead.store(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Moves the time forward and wakes whoever slept until then.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = *now + by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix_millis(self.now().micros() / 1_000 + self.wall_ahead.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut changes = self.now.subscribe();
        Box::pin(async move {
            // The sender lives in `self`, which outlives this future: waiting can't fail.
            let _ = changes.wait_for(|now| *now >= deadline).await;
        })
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat { now: self.now(), wall: self.wall(), since_boot: self.now().micros(), boot_id: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            now: Timestamp::from_micros(100 * HOUR),
            wall: WallTime::from_unix_millis(50 * HOUR / 1_000),
            since_boot: HOUR,
            boot_id: "this".into(),
        }
    }

    #[test]
    fn the_first_start_takes_the_wall_clock() {
        assert_eq!(resumed_now(None, "this", 5, WallTime::from_unix_millis(7)), Timestamp::from_micros(7_000));
    }

    #[test]
    fn within_one_boot_a_wall_clock_that_jumps_changes_nothing() {
        let jumped = WallTime::from_unix_millis(0);
        assert_eq!(resumed_now(Some(&heartbeat()), "this", 2 * HOUR, jumped), Timestamp::from_micros(101 * HOUR));
    }

    #[test]
    fn across_a_reboot_the_wall_time_since_the_heartbeat_counts() {
        let wall = WallTime::from_unix_millis(53 * HOUR / 1_000);
        assert_eq!(resumed_now(Some(&heartbeat()), "next", 1, wall), Timestamp::from_micros(103 * HOUR));
    }

    #[test]
    fn across_a_reboot_a_wall_clock_set_back_counts_as_no_time() {
        let wall = WallTime::from_unix_millis(49 * HOUR / 1_000);
        assert_eq!(resumed_now(Some(&heartbeat()), "next", 1, wall), Timestamp::from_micros(100 * HOUR));
    }

    #[test]
    fn a_wall_clock_that_was_set_is_known_by_the_boot_time_clock() {
        let later = Heartbeat {
            wall: WallTime::from_unix_millis(51 * HOUR / 1_000 + 5_000),
            since_boot: 2 * HOUR,
            ..heartbeat()
        };
        assert_eq!(later.wall_was_set_by(&heartbeat()), Some(5_000));
        assert_eq!(heartbeat().wall_was_set_by(&later), Some(-5_000));
        assert_eq!(Heartbeat { boot_id: "next".into(), ..later }.wall_was_set_by(&heartbeat()), None);
    }

    #[test]
    fn the_system_clock_goes_on_from_its_own_heartbeat() {
        let first = SystemClock::resume(None);
        let beat = first.heartbeat();
        let second = SystemClock::resume(Some(&beat));
        assert!(second.now() >= beat.now);
        assert!(second.now().saturating_since(beat.now) < Duration::from_secs(60));
    }
}
