//! What holds for every history of attempts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Admission, Bottleneck, HOUR, MINUTE, Throttle, ThrottleConfig};
use super::{KEY, START, guesses, home, throttle};
use crate::clock::Timestamp;

/// One step of a random history, over a few accounts and addresses.
#[derive(Debug, Clone)]
enum Step {
    Admit { account: u8, address: u8 },
    Settle { which: usize, how: How },
    Pass { milliseconds: u64 },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Refused,
    Dropped,
    FailedToCheck,
    Succeeded,
}

/// How many may be in flight from one address in these histories.
const SMALL_CROWD: u32 = 6;

fn small() -> Throttle {
    Throttle::with_capacity(SMALL, KEY, SMALL_CROWD, 1_000)
}

fn steps(succeeding: bool) -> impl Strategy<Value = Vec<Step>> {
    let how = if succeeding {
        prop_oneof![Just(How::Refused), Just(How::Dropped), Just(How::FailedToCheck), Just(How::Succeeded)].boxed()
    } else {
        prop_oneof![4 => Just(How::Refused), 2 => Just(How::Dropped), 1 => Just(How::FailedToCheck)].boxed()
    };
    let step = prop_oneof![
        6 => (0..5_u8, 0..4_u8).prop_map(|(account, address)| Step::Admit { account, address }),
        4 => (any::<usize>(), how).prop_map(|(which, how)| Step::Settle { which, how }),
        1 => prop_oneof![0..2_000_u64, 0..30_000_u64, 0..1_500_000_u64].prop_map(|milliseconds| Step::Pass { milliseconds }),
    ];
    prop::collection::vec(step, 1..600)
}

const SMALL: ThrottleConfig = ThrottleConfig {
    enabled: true,
    per_account_and_address_per_minute: 3,
    per_address_per_minute: 5,
    per_account_per_hour: 7,
    per_proof_per_hour: 2,
};

/// What a history let through: guesses that were not given back, and successes.
#[derive(Default)]
struct Seen {
    guesses: Vec<(Timestamp, u8, u8, bool)>,
    successes: Vec<(Timestamp, u8, u8)>,
    refusals: Vec<Duration>,
}

fn play(throttle: &Throttle, steps: Vec<Step>) -> (Seen, Timestamp) {
    play_with(throttle, steps, |_, in_flight| assert!(in_flight > 0))
}

/// Plays, and shows every wait, with what is in flight from the address.
fn play_with(throttle: &Throttle, steps: Vec<Step>, waits: impl Fn(Bottleneck, usize)) -> (Seen, Timestamp) {
    let (mut seen, mut now, mut flying) = (Seen::default(), START, Vec::new());
    for step in steps {
        match step {
            Step::Admit { account, address } => match throttle.admit(&account.to_string(), home(address.into()), now) {
                Admission::Go(attempt) => flying.push((attempt, now, account, address)),
                Admission::Wait(at) if matches!(at, Bottleneck::Address(_)) => {
                    waits(at, flying.iter().filter(|(_, _, _, from)| *from == address).count());
                }
                Admission::Wait(at) => waits(at, flying.len()),
                Admission::Refuse(refusal) => seen.refusals.push(refusal.retry_after),
            },
            Step::Settle { which, how } if !flying.is_empty() => {
                let (attempt, since, account, address) = flying.swap_remove(which % flying.len());
                let trusted = !attempt.hold.as_ref().unwrap().places.on_account;
                match how {
                    How::Refused => attempt.refused(now),
                    How::Dropped => drop(attempt),
                    How::FailedToCheck => attempt.failed_to_check(),
                    How::Succeeded => attempt.succeeded(now),
                }
                match how {
                    How::Refused | How::Dropped => seen.guesses.push((since, account, address, trusted)),
                    How::FailedToCheck => {}
                    How::Succeeded => seen.successes.push((now, account, address)),
                }
            }
            Step::Settle { .. } => {}
            Step::Pass { milliseconds } => now = now + Duration::from_millis(milliseconds),
        }
    }
    for (attempt, since, account, address) in flying {
        let trusted = !attempt.hold.as_ref().unwrap().places.on_account;
        attempt.refused(now);
        seen.guesses.push((since, account, address, trusted));
    }
    (seen, now)
}

/// Asserts that no window holds more of `guesses` (by bucket) than `most`, and one for each success there before.
fn assert_bound<K: std::hash::Hash + Eq + std::fmt::Debug>(
    window: Duration,
    most: u32,
    guesses: impl Iterator<Item = (K, Timestamp)>,
    successes: impl Iterator<Item = (K, Timestamp)>,
) {
    let mut by_bucket: HashMap<K, (Vec<Timestamp>, Vec<Timestamp>)> = HashMap::new();
    guesses.for_each(|(key, time)| by_bucket.entry(key).or_default().0.push(time));
    successes.for_each(|(key, time)| by_bucket.entry(key).or_default().1.push(time));
    for (key, (guesses, successes)) in by_bucket {
        for &start in &guesses {
            let end = start + window;
            let inside = guesses.iter().filter(|&&time| start <= time && time <= end).count();
            let earned = successes.iter().filter(|&&time| time <= end).count();
            assert!(inside <= most as usize + earned, "{key:?}: {inside} guesses, {earned} earned");
        }
    }
}

proptest! {
    #[test]
    fn no_interleaving_lets_more_than_twice_a_limit_and_the_crowd_through(steps in steps(false)) {
        let (seen, _) = play(&small(), steps);
        let none = || std::iter::empty();
        assert_bound(MINUTE, 2 * 3, seen.guesses.iter().map(|g| ((g.1, g.2), g.0)), none());
        assert_bound(HOUR, 2 * 7, seen.guesses.iter().map(|g| (g.1, g.0)), std::iter::empty());
        for minutes in [1, 2, 10, 60] {
            let most = 5 * minutes + 5 + SMALL_CROWD;
            assert_bound(MINUTE * minutes, most, seen.guesses.iter().map(|g| (g.2, g.0)), std::iter::empty());
        }
    }

    #[test]
    fn each_success_pays_for_at_most_one_guess_more(steps in steps(true)) {
        let (seen, _) = play(&small(), steps);
        let successes = || seen.successes.iter();
        assert_bound(MINUTE, 2 * 3, seen.guesses.iter().map(|g| ((g.1, g.2), g.0)), successes().map(|s| ((s.1, s.2), s.0)));
        let by_address = seen.guesses.iter().map(|g| (g.2, g.0));
        assert_bound(MINUTE, 2 * 5 + SMALL_CROWD, by_address, successes().map(|s| (s.2, s.0)));
        let strangers = seen.guesses.iter().filter(|g| !g.3);
        assert_bound(HOUR, 2 * 7, strangers.map(|g| (g.1, g.0)), std::iter::empty());
    }

    #[test]
    fn below_its_limit_an_address_waits_for_nothing_but_a_full_crowd(steps in steps(true)) {
        let throttle = small();
        play_with(&throttle, steps, |at, in_flight| {
            assert!(!matches!(at, Bottleneck::Address(_)) || in_flight >= SMALL_CROWD as usize, "{in_flight}");
        });
    }

    #[test]
    fn no_refusal_is_empty_or_for_good(steps in steps(true)) {
        let throttle = small();
        let (seen, now) = play(&throttle, steps);
        prop_assert!(seen.refusals.iter().all(|wait| !wait.is_zero() && *wait <= HOUR + HOUR / 7));
        let quiet = now + HOUR + HOUR / 7;
        for (account, address) in (0..3).flat_map(|account| (0..4).map(move |address| (account, address))) {
            throttle.admit(&account.to_string(), home(address), quiet).go().failed_to_check();
        }
    }

    #[test]
    fn whoever_waits_as_told_is_let_in(steps in steps(true)) {
        let throttle = small();
        let (_, now) = play(&throttle, steps);
        if let Admission::Refuse(refusal) = throttle.admit("0", home(0), now) {
            throttle.admit("0", home(0), now + refusal.retry_after).go().failed_to_check();
        }
    }

    #[test]
    fn who_only_succeeds_is_never_refused(sizes in prop::collection::vec((1..300_usize, 0..200_u64, any::<bool>()), 1..20)) {
        let throttle = small();
        let mut now = START;
        for (parallel, seconds, same) in sizes {
            now = now + Duration::from_secs(seconds);
            let mut flying = Vec::new();
            for n in 0..parallel {
                let account = if same { "ann".to_owned() } else { n.to_string() };
                match throttle.admit(&account, home(1), now) {
                    Admission::Go(attempt) => flying.push(attempt),
                    Admission::Wait(_) => prop_assert!(!flying.is_empty(), "waits for nobody"),
                    Admission::Refuse(refusal) => prop_assert!(false, "{}", refusal),
                }
            }
            flying.into_iter().for_each(|attempt| attempt.succeeded(now));
        }
    }

    #[test]
    fn ipv6_neighbours_share_one_record(prefix: u64, one: u64, other: u64) {
        let address = |host: u64| IpAddr::from(Ipv6Addr::from_bits(u128::from(prefix) << 64 | u128::from(host)));
        prop_assume!(prefix != 0);
        let throttle = throttle();
        guesses(&throttle, "ann", address(one), START);
        prop_assert!(throttle.admit("ann", address(other), START).refused().is_some());
    }
}
