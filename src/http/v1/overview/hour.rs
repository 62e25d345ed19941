//! The last hour as the overview shows it.

use std::cmp::Reverse;

use crate::metrics::Metrics;
use crate::metrics::durations::quantile;
use crate::metrics::history::{HOUR, History, Minute, Moment};

use super::view::{EndedView, HourView, RefusalsView, SampleView, StartsView};

/// The hour up to `now`.
pub(super) fn view(history: &History, now: &Moment, metrics: &Metrics) -> HourView {
    let begin = history.before(now.at, HOUR);
    let counted = now.totals.since(&begin.totals);
    let seconds =
        |share| quantile(metrics.starts.bounds(), &counted.starts, share).map(|duration| duration.as_secs_f64());
    HourView {
        since: begin.wall.to_string(),
        samples: history.minutes(now).iter().map(sample).collect(),
        admitted: counted.admitted,
        refusals: refusals(&counted.refused, metrics),
        ended: EndedView::of(&counted.ended),
        starts: StartsView {
            count: counted.started(),
            failures: counted.failed_starts(),
            p50_seconds: seconds(0.5),
            p99_seconds: seconds(0.99),
        },
        restarts: counted.restarts(),
    }
}

fn sample(minute: &Minute) -> SampleView {
    let (census, counted) = (&minute.census, &minute.totals);
    SampleView {
        at: minute.began.to_string(),
        pending: census.pending,
        starting: census.starting,
        running: census.running,
        stopping: census.stopping,
        admitted: counted.admitted,
        refused: counted.refused.iter().sum(),
        starts: counted.started(),
        start_failures: counted.failed_starts(),
        restarts: counted.restarts(),
    }
}

fn refusals(counts: &[u64], metrics: &Metrics) -> Vec<RefusalsView> {
    let reasons = metrics.refused.iter().map(|(reason, _)| reason);
    let mut refusals: Vec<_> = reasons
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| RefusalsView { reason: reason.to_owned(), count: *count })
        .collect();
    refusals.sort_by_key(|refusals| Reverse(refusals.count));
    refusals
}
