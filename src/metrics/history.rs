//! The last hour, minute by minute, out of counts that only rise: each minute is the difference between two moments.
//! Pure.
//!
//! Nothing is lost when a moment comes late: its minute is longer then. It is in memory, so that a restart forgets it,
//! and who shows it says since when it counts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{Timestamp, WallTime};
use crate::session::Census;

use super::personas::PersonaTotals;

/// How long the history is.
pub const HOUR: Duration = Duration::from_secs(3_600);
/// How many minutes are kept, the one that is going on included.
const MOST_MINUTES: usize = 60;

/// What was counted up to a moment since the server was started, or between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions that were admitted.
    pub admitted: u64,
    /// Refusals, by the place of their code.
    pub refused: Vec<u64>,
    /// Sessions that have ended, by the place of their outcome.
    pub ended: Vec<u64>,
    /// First starts that came to a ready agent, by how long they took.
    pub starts: Vec<u64>,
    /// What happened to the sessions of each persona.
    pub personas: Vec<PersonaTotals>,
}

/// A moment, with what was counted up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// On the desk's own timeline.
    pub at: Timestamp,
    /// For people.
    pub wall: WallTime,
    /// The live sessions at that moment.
    pub census: Census,
    /// What was counted up to it.
    pub totals: Totals,
}

/// A minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    /// When it began.
    pub began: WallTime,
    /// The live sessions at its end.
    pub census: Census,
    /// What was counted in it.
    pub totals: Totals,
}

/// The moments at which minutes began, the oldest first; there is always one.
#[derive(Clone, Debug)]
pub struct History {
    moments: VecDeque<Moment>,
}

impl History {
    /// Begins with a moment.
    pub fn begin(moment: Moment) -> Self {
        Self { moments: VecDeque::from([moment]) }
    }

    /// Ends the minute that is going on, and begins the next one.
    pub fn note(&mut self, moment: Moment) {
        // The one before the last of which an hour has passed is still the beginning of that hour.
        let is_over = |at: Timestamp| moment.at.saturating_since(at) >= HOUR;
        while self.moments.len() >= MOST_MINUTES || self.moments.get(1).is_some_and(|second| is_over(second.at)) {
            self.moments.pop_front();
        }
        self.moments.push_back(moment);
    }

    /// The minutes, the oldest first; the last one goes on until `now`.
    pub fn minutes(&self, now: &Moment) -> Vec<Minute> {
        let ends = self.moments.iter().skip(1).chain([now]);
        let minute = |(begin, end): (&Moment, &Moment)| Minute {
            began: begin.wall,
            census: end.census,
            totals: end.totals.since(&begin.totals),
        };
        self.moments.iter().zip(ends).map(minute).collect()
    }

    /// The youngest moment that is at least so old, or the oldest.
    pub fn before(&self, now: Timestamp, age: Duration) -> &Moment {
        let is_old_enough = |moment: &&Moment| now.saturating_since(moment.at) >= age;
        self.moments.iter().rev().find(is_old_enough).unwrap_or(&self.moments[0])
    }
}

impl Totals {
    /// What was counted since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        let persona = |(now, before): (&PersonaTotals, &PersonaTotals)| PersonaTotals {
            started: now.started.saturating_sub(before.started),
            failed_starts: now.failed_starts.saturating_sub(before.failed_starts),
            restarts: now.restarts.saturating_sub(before.restarts),
            failed: now.failed.saturating_sub(before.failed),
        };
        Self {
            admitted: self.admitted.saturating_sub(earlier.admitted),
            refused: differences(&self.refused, &earlier.refused),
            ended: differences(&self.ended, &earlier.ended),
            starts: differences(&self.starts, &earlier.starts),
            personas: self.personas.iter().zip(&earlier.personas).map(persona).collect(),
        }
    }

    /// Starts that came to a ready agent.
    pub fn started(&self) -> u64 {
        self.personas.iter().map(|persona| persona.started).sum()
    }

    /// Starts that failed.
    pub fn failed_starts(&self) -> u64 {
        self.personas.iter().map(|persona| persona.failed_starts).sum()
    }

    /// Starts that followed the loss of a running agent.
    pub fn restarts(&self) -> u64 {
        self.personas.iter().map(|persona| persona.restarts).sum()
    }
}

fn differences(now: &[u64], before: &[u64]) -> Vec<u64> {
    now.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment so many seconds after the start, with as many admissions up to it.
    fn moment(seconds: u64) -> Moment {
        let totals = Totals { admitted: seconds, ..Totals::default() };
        let wall = WallTime::from_unix_millis(i64::try_from(seconds).unwrap() * 1_000);
        Moment { at: Timestamp::from_micros(0) + Duration::from_secs(seconds), wall, totals, ..Moment::default() }
    }

    fn history(moments: impl IntoIterator<Item = u64>) -> History {
        let mut moments = moments.into_iter().map(moment);
        let mut history = History::begin(moments.next().unwrap());
        moments.for_each(|moment| history.note(moment));
        history
    }

    fn admitted(history: &History, now: u64) -> Vec<u64> {
        history.minutes(&moment(now)).iter().map(|minute| minute.totals.admitted).collect()
    }

    #[test]
    fn a_minute_is_what_was_counted_between_its_ends_and_the_last_one_goes_on() {
        assert_eq!(admitted(&history([0]), 7), [7]);
        assert_eq!(admitted(&history([0, 60, 121]), 125), [60, 61, 4]);
        let minutes = history([0, 60]).minutes(&moment(70));
        assert_eq!(minutes[1].began, WallTime::from_unix_millis(60_000));
    }

    #[test]
    fn there_are_never_more_than_sixty_minutes_and_none_that_ended_longer_ago_than_an_hour() {
        let many = history((0..500).map(|minute| minute * 60));
        assert_eq!(admitted(&many, 499 * 60 + 30).len(), 60);
        let slept = history([0, 60, 120, 20_000, 20_060]);
        assert_eq!(admitted(&slept, 20_061), [19_880, 60, 1]);
    }

    #[test]
    fn a_span_begins_at_the_youngest_moment_that_is_old_enough_or_with_the_history() {
        let history = history([0, 60, 120]);
        for (age, expected) in [(0, 120), (10, 120), (11, 60), (130, 0), (9_999, 0)] {
            let begin = history.before(moment(130).at, Duration::from_secs(age));
            assert_eq!(begin.totals.admitted, expected, "{age}");
        }
    }

    #[test]
    fn what_is_counted_by_labels_is_subtracted_label_by_label() {
        let persona = |restarts, failed_starts| PersonaTotals { restarts, failed_starts, ..PersonaTotals::default() };
        let totals = |refused, starts, personas| Totals { refused, starts, personas, ..Totals::default() };
        let before = totals(vec![1, 2], vec![1, 0], vec![persona(1, 0), persona(0, 0)]);
        let now = totals(vec![1, 5], vec![3, 4], vec![persona(3, 1), persona(2, 2)]);

        let counted = now.since(&before);

        assert_eq!(counted.refused, [0, 3]);
        assert_eq!(counted.starts, [2, 4]);
        assert_eq!((counted.restarts(), counted.failed_starts()), (4, 3));
    }
}
