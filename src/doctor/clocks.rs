//! Whether the clocks can be believed: the boot-time clock, by which everything expires, and the wall clock, which dates
//! ids, logs and certificates.

use std::path::Path;
use std::time::Duration;

use crate::clock::{Clock, Heartbeat, SystemClock, WallTime};

use super::Finding;

const ABOUT: &str = "clock";
/// The first day of 2025: no clock of a machine that runs this can be before it.
const PLAUSIBLE: WallTime = WallTime::from_unix_millis(1_735_689_600_000);
/// What a well-kept clock may be set back by.
const SET_BACK: Duration = Duration::from_secs(2);
/// What no time server sets a clock by that it has kept before.
const FAR_MILLIS: u64 = 60_000;
/// There once systemd's own time service has set the clock.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// What the machine and the store say of time.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Where the machine's clocks stand, and which boot this is; that is empty if the system does not say.
    here: Heartbeat,
    /// Where they stood when the store was last told.
    last: Option<Heartbeat>,
    /// Whether a time service is known to have set the clock.
    is_synchronised: bool,
}

impl Facts {
    pub(super) fn look(last: Option<Heartbeat>) -> Self {
        let here = SystemClock::resume(None).heartbeat();
        Self { here, last, is_synchronised: Path::new(SYNCHRONISED).exists() }
    }
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let found: Vec<_> = [of_boot(facts), of_wall(facts)].into_iter().flatten().collect();
    if !found.is_empty() {
        return found;
    }
    let kept = if facts.is_synchronised {
        "and a time server keeps it"
    } else {
        "and no sign of a time server was found (`timedatectl` or `chronyc tracking` may know)"
    };
    vec![Finding::ok(ABOUT, format!("the wall clock says {}, {kept}", facts.here.wall))]
}

fn of_boot(facts: &Facts) -> Option<Finding> {
    if facts.here.boot_id.is_empty() {
        let sentence = "the system does not say which boot of the machine this is";
        let cure = "let the server read /proc/sys/kernel/random/boot_id, or each start counts as one after a reboot";
        return Some(Finding::warning(ABOUT, sentence, cure));
    }
    let last = facts.last.as_ref().filter(|last| last.boot_id == facts.here.boot_id)?;
    (facts.here.since_boot < last.since_boot).then(|| {
        let sentence = "the boot-time clock stands before the store's last heartbeat of the same boot";
        Finding::error(ABOUT, sentence, "start the machine anew: nothing expires in time on a clock that goes back")
    })
}

fn of_wall(facts: &Facts) -> Option<Finding> {
    let wall = facts.here.wall;
    let cure = "set it, and have a time server keep it (chrony, systemd-timesyncd)";
    if wall < PLAUSIBLE {
        return Some(Finding::error(ABOUT, format!("the wall clock says {wall}, which can't be"), cure));
    }
    let last = facts.last.as_ref()?;
    if let Some(by) = facts.here.wall_was_set_by(last).filter(|by| by.unsigned_abs() > FAR_MILLIS) {
        let (time, way) = (humantime::format_duration(Duration::from_secs(by.unsigned_abs() / 1_000)), way(by));
        let sentence = format!("the wall clock was set {time} {way} since the store's last heartbeat, to {wall}");
        return Some(Finding::warning(ABOUT, sentence, cure));
    }
    let last = last.wall;
    let behind = last.unix_millis() - wall.unix_millis();
    let is_behind = u64::try_from(behind).is_ok_and(|millis| Duration::from_millis(millis) > SET_BACK);
    is_behind.then(|| {
        let sentence = format!("the wall clock says {wall}, and the store's last heartbeat was at {last}");
        Finding::warning(ABOUT, sentence, cure)
    })
}

/// In which direction a clock was set.
fn way(millis: i64) -> &'static str {
    if millis < 0 { "back" } else { "ahead" }
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::doctor::Level;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn at(wall: i64, since_boot: i64, boot: &str) -> Heartbeat {
        Heartbeat {
            now: Timestamp::from_micros(0),
            wall: WallTime::from_unix_millis(wall),
            since_boot,
            boot_id: boot.into(),
        }
    }

    fn levels(here: Heartbeat, last: Option<Heartbeat>) -> Vec<Level> {
        let found = check(&Facts { here, last, is_synchronised: false });
        found.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn clocks_that_go_on_from_the_last_heartbeat_are_fine() {
        assert_eq!(levels(at(NOW, 5_000_100, "this"), Some(at(NOW - 5_000, 100, "this"))), [Level::Ok]);
        assert_eq!(levels(at(NOW, 1, "this"), Some(at(NOW - 5_000, 100, "another"))), [Level::Ok]);
        assert_eq!(levels(at(NOW, 1, "this"), None), [Level::Ok]);
    }

    #[test]
    fn a_wall_clock_before_the_last_heartbeat_is_a_warning_and_one_before_this_program_an_error() {
        assert_eq!(levels(at(NOW, 101, "this"), Some(at(NOW + 60_000, 100, "this"))), [Level::Warning]);
        assert_eq!(levels(at(0, 101, "this"), None), [Level::Error]);
    }

    #[test]
    fn a_wall_clock_that_was_set_far_ahead_within_one_boot_is_a_warning() {
        let last = at(NOW, 100, "this");
        let ahead = Facts { here: at(NOW + 31 * 86_400_000, 100, "this"), last: Some(last), is_synchronised: false };
        let found = check(&ahead);
        assert_eq!(found[0].level, Level::Warning);
        let sentence = &found[0].sentence;
        assert!(
            sentence.starts_with("the wall clock was set 1month") && sentence.contains(" ahead since"),
            "{sentence}"
        );
    }

    #[test]
    fn a_boot_time_clock_that_went_back_is_an_error_only_within_one_boot() {
        assert_eq!(levels(at(NOW, 99, "this"), Some(at(NOW, 100, "this"))), [Level::Error]);
        assert_eq!(levels(at(NOW, 99, ""), None), [Level::Warning]);
    }
}
