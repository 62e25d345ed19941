use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::table::{Table, Trusted};
use super::{
    Account, Admission, Attempt, Bottleneck, CROWD, Limit, Limited, MINUTE, Proof, Sender, Throttle, ThrottleConfig,
};
use crate::clock::Timestamp;

mod properties;

const KEY: [u8; 32] = [7; 32];
const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The address of customer `n`.
fn home(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn throttle() -> Throttle {
    Throttle::new(ThrottleConfig::default(), KEY)
}

impl Admission {
    fn go(self) -> Attempt {
        match self {
            Self::Go(attempt) => attempt,
            Self::Wait(at) => panic!("must wait at {at:?}"),
            Self::Refuse(refusal) => panic!("{refusal}"),
        }
    }

    /// The seconds to wait, if refused.
    fn refused(self) -> Option<f64> {
        match self {
            Self::Refuse(refusal) => Some(refusal.retry_after.as_secs_f64()),
            Self::Go(_) | Self::Wait(_) => None,
        }
    }

    fn waits(self) -> bool {
        matches!(self, Self::Wait(_))
    }
}

/// Guesses one after the other until refused, and returns how many were let through.
fn guesses(throttle: &Throttle, account: &str, address: IpAddr, now: Timestamp) -> usize {
    let mut let_through = 0;
    loop {
        match throttle.admit(account, address, now) {
            Admission::Go(attempt) => attempt.refused(now),
            Admission::Wait(at) => panic!("nothing is in flight at {at:?}"),
            Admission::Refuse(_) => return let_through,
        }
        let_through += 1;
    }
}

fn login(throttle: &Throttle, account: &str, address: IpAddr, now: Timestamp) {
    throttle.admit(account, address, now).go().succeeded(now);
}

#[test]
fn what_failed_for_an_account_is_forgiven_from_all_addresses_and_what_others_failed_at_is_not() {
    let throttle = Throttle::new(ThrottleConfig::default(), KEY);
    for address in 1..=2 {
        for _ in 0..10 {
            throttle.admit("ann", home(address), at(0)).go().refused(at(0));
            throttle.admit("bob", home(address), at(0)).go().refused(at(0));
        }
    }

    throttle.forgive(&Account::customer("ann"), at(0));

    for address in 1..=2 {
        assert_eq!(throttle.quotas("ann", home(address), at(0))[0].remaining, 10);
        throttle.admit("ann", home(address), at(0)).go().failed_to_check();
        assert_eq!(throttle.admit("bob", home(address), at(0)).refused(), Some(6.0));
    }
    assert_eq!(throttle.quotas("ann", home(1), at(0))[1].remaining, 80, "the address has failed twenty times");
}

#[test]
fn who_is_forgiven_and_guesses_on_is_slowed_again_and_who_was_in_flight_still_counts() {
    let throttle = Throttle::new(ThrottleConfig::default(), KEY);
    let in_flight = throttle.admit("ann", home(1), at(0)).go();
    throttle.forgive(&Account::customer("ann"), at(0));
    in_flight.refused(at(0));
    for _ in 0..10 {
        throttle.admit("ann", home(1), at(0)).go().refused(at(0));
    }
    let Admission::Refuse(refusal) = throttle.admit("ann", home(1), at(0)) else { panic!("let through") };
    assert_eq!((refusal.limit, refusal.failures), (Limited::AccountAndAddress, 10));
}

#[test]
fn a_customer_and_an_operator_of_one_name_have_counts_of_their_own() {
    let throttle = Throttle::new(ThrottleConfig::default(), KEY);
    for _ in 0..10 {
        throttle.admit(Account::operator("ann"), home(1), at(0)).go().refused(at(0));
    }
    assert!(throttle.admit(Account::operator("ann"), home(1), at(0)).refused().is_some());
    throttle.admit(Account::customer("ann"), home(1), at(0)).go().failed_to_check();
}

#[test]
fn ten_failures_a_minute_for_one_account_from_one_address() {
    let throttle = throttle();
    assert_eq!(guesses(&throttle, "ann", home(1), at(0)), 10);
    assert_eq!(throttle.admit("ann", home(1), at(0)).refused(), Some(6.0), "until one has leaked");
    assert_eq!(throttle.admit("ann", home(1), at(4)).refused(), Some(2.0));
    assert_eq!(guesses(&throttle, "ann", home(1), at(6)), 1);
    assert_eq!(guesses(&throttle, "ann", home(1), at(6 + 60)), 10, "a quiet minute forgives all");
    assert_eq!(guesses(&throttle, "bob", home(1), at(66)), 10, "other accounts are not affected");
    assert_eq!(guesses(&throttle, "ann", home(2), at(66)), 10, "nor are other addresses");
}

#[test]
fn a_hundred_failures_a_minute_from_one_address() {
    let throttle = throttle();
    let total: usize = (0..20).map(|n| guesses(&throttle, &format!("account {n}"), home(1), at(0))).sum();
    assert_eq!(total, 100);
    assert_eq!(throttle.admit("somebody else", home(1), at(0)).refused(), Some(0.6));
    throttle.admit("somebody else", home(2), at(0)).go().refused(at(0));
}

#[test]
fn above_a_hundred_failures_an_hour_an_account_slows_addresses_that_never_succeeded() {
    let throttle = throttle();
    login(&throttle, "ann", home(0), at(0));
    let total: usize = (1..50).map(|n| guesses(&throttle, "ann", home(n), at(0))).sum();
    assert_eq!(total, 100);
    assert_eq!(throttle.admit("ann", home(60), at(0)).refused(), Some(36.0));
    login(&throttle, "ann", home(0), at(0));
    assert_eq!(guesses(&throttle, "ann", home(0), at(0)), 10, "keeps its own limits");
    assert_eq!(guesses(&throttle, "ann", home(60), at(36 * 3)), 3, "slowed, not locked out");
}

#[test]
fn a_refusal_names_the_longest_time() {
    let throttle = throttle();
    for n in 0..10 {
        guesses(&throttle, "ann", home(n), at(0));
    }
    for n in 0..9 {
        guesses(&throttle, &format!("account {n}"), home(0), at(0));
    }
    assert_eq!(throttle.admit("ann", home(0), at(0)).refused(), Some(36.0));
}

#[test]
fn the_owner_cannot_lock_out_his_own_next_device() {
    let throttle = throttle();
    login(&throttle, "ann", home(0), at(0));
    for hour in 0..10 {
        for minute in 0..60 {
            guesses(&throttle, "ann", home(0), at(hour * 3_600 + minute * 60));
        }
    }
    let wait = throttle.admit("ann", home(1), at(10 * 3_600)).refused().unwrap_or(0.0);
    assert!(wait <= 36.0, "{wait}");
}

#[test]
fn eight_addresses_are_remembered_for_an_account() {
    let throttle = throttle();
    (0..9).for_each(|n| login(&throttle, "ann", home(n), at(0)));
    login(&throttle, "ann", home(1), at(0));
    login(&throttle, "ann", home(9), at(0));
    (100..120).for_each(|n| {
        guesses(&throttle, "ann", home(n), at(0));
    });
    let known: Vec<u32> = (0..10).filter(|&n| throttle.admit("ann", home(n), at(0)).refused().is_none()).collect();
    assert_eq!(known, [1, 3, 4, 5, 6, 7, 8, 9], "the latest eight");
}

#[test]
fn addresses_are_grouped_as_their_owners_are() {
    for (one, other, same) in [
        ("2001:db8:1:1::1", "2001:db8:1:1:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:1::1", "2001:db8:1:2::1", false),
        ("10.0.0.1", "::ffff:10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
        ("::1", "127.0.0.1", false),
    ] {
        let throttle = throttle();
        guesses(&throttle, "ann", ip(one), at(0));
        assert_eq!(throttle.admit("ann", ip(other), at(0)).refused().is_some(), same, "{one} {other}");
    }
}

#[test]
fn a_check_that_failed_itself_costs_nothing() {
    let throttle = throttle();
    for _ in 0..1_000 {
        throttle.admit("ann", home(1), at(0)).go().failed_to_check();
    }
    assert_eq!(guesses(&throttle, "ann", home(1), at(0)), 10);
}

#[test]
fn a_success_forgives_no_failure() {
    let throttle = throttle();
    for _ in 0..9 {
        throttle.admit("ann", home(1), at(0)).go().refused(at(0));
    }
    login(&throttle, "ann", home(1), at(0));
    assert_eq!(guesses(&throttle, "ann", home(1), at(0)), 1);
}

#[test]
fn an_attempt_without_an_outcome_is_a_failure_as_of_the_admission() {
    let throttle = throttle();
    for _ in 0..10 {
        drop(throttle.admit("ann", home(1), at(0)));
    }
    assert_eq!(throttle.admit("ann", home(1), at(0)).refused(), Some(6.0));
}

#[test]
fn guesses_in_flight_wait_instead_of_slipping_by() {
    let throttle = throttle();
    let mut flying: Vec<Attempt> = (0..10).map(|_| throttle.admit("ann", home(1), at(0)).go()).collect();
    assert!(throttle.admit("ann", home(1), at(0)).waits());
    flying.pop().unwrap().failed_to_check();
    flying.push(throttle.admit("ann", home(1), at(0)).go());
    flying.into_iter().for_each(|attempt| attempt.refused(at(0)));
    assert!(throttle.admit("ann", home(1), at(0)).refused().is_some());
}

#[test]
fn each_success_makes_room_for_one_more_in_flight_until_the_first_failure() {
    let throttle = throttle();
    (0..50).for_each(|_| login(&throttle, "ann", home(1), at(0)));
    let flying: Vec<Attempt> = (0..60).map(|_| throttle.admit("ann", home(1), at(0)).go()).collect();
    assert!(throttle.admit("ann", home(1), at(0)).waits());
    drop(flying);
    let wait = throttle.admit("ann", home(1), at(0)).refused().unwrap();
    assert_eq!(wait, 66.0, "what came at once is counted, up to twice the limit");
    assert_eq!(guesses(&throttle, "ann", home(1), at(200)), 10);
    let flying: Vec<Attempt> = (0..10).map(|_| throttle.admit("ann", home(1), at(400)).go()).collect();
    assert!(throttle.admit("ann", home(1), at(400)).waits(), "the successes are used up");
    drop(flying);
}

#[test]
fn one_failure_takes_away_all_the_room_successes_made() {
    let throttle = throttle();
    (0..50).for_each(|_| login(&throttle, "ann", home(1), at(0)));
    throttle.admit("ann", home(1), at(0)).go().refused(at(0));
    let flying: Vec<Attempt> = (0..9).map(|_| throttle.admit("ann", home(1), at(0)).go()).collect();
    assert!(throttle.admit("ann", home(1), at(0)).waits());
    drop(flying);
}

#[test]
fn failures_take_nothing_from_an_addresss_crowd_until_they_reach_its_limit() {
    let throttle = throttle();
    for failures in 1..100 {
        throttle.admit(&format!("mistyped {failures}"), home(1), at(0)).go().refused(at(0));
        if [1, 50, 99].contains(&failures) {
            let flying: Vec<Attempt> =
                (0..512).map(|n| throttle.admit(&format!("account {n}"), home(1), at(0)).go()).collect();
            let more = throttle.admit("one more", home(1), at(0));
            assert!(matches!(more, Admission::Wait(Bottleneck::Address(_))), "after {failures} failures");
            flying.into_iter().for_each(Attempt::failed_to_check);
        }
    }
    throttle.admit("mistyped", home(1), at(0)).go().refused(at(0));
    assert_eq!(throttle.admit("somebody else", home(1), at(0)).refused(), Some(0.6));
}

#[test]
fn a_crowd_of_guesses_is_counted_in_full_so_that_the_average_stays_the_limit() {
    let throttle = throttle();
    let mut checked = 0;
    for second in 0..3_600 {
        let mut flying = Vec::new();
        for n in 0..1_000 {
            match throttle.admit(&format!("{second} {n}"), home(1), at(second)) {
                Admission::Go(attempt) => flying.push(attempt),
                Admission::Wait(_) | Admission::Refuse(_) => break,
            }
        }
        checked += flying.len();
        flying.into_iter().for_each(|attempt| attempt.refused(at(second)));
        if let Some(wait) = throttle.admit("somebody else", home(1), at(second)).refused() {
            assert!(wait <= 308.0, "{wait}");
        }
    }
    assert!((5_900..=6_000 + 612).contains(&checked), "{checked}");
}

#[test]
fn a_window_without_success_ends_the_room_it_made() {
    let throttle = throttle();
    (0..50).for_each(|_| login(&throttle, "ann", home(1), at(0)));
    let flying: Vec<Attempt> = (0..10).map(|_| throttle.admit("ann", home(1), at(61)).go()).collect();
    assert!(throttle.admit("ann", home(1), at(61)).waits());
    drop(flying);
}

#[test]
fn a_web_server_soon_has_room_for_thousands() {
    let throttle = throttle();
    let mut flying: Vec<Attempt> = Vec::new();
    for round in 0..7 {
        for customer in 0..5_000 {
            match throttle.admit(&format!("{round} {customer}"), home(1), at(round)) {
                Admission::Go(attempt) => flying.push(attempt),
                Admission::Wait(_) => break,
                Admission::Refuse(refusal) => panic!("{refusal}"),
            }
        }
        assert!(flying.len() >= (100 << round).min(4_196), "round {round}: {}", flying.len());
        flying.drain(..).for_each(|attempt| attempt.succeeded(at(round)));
    }
}

#[test]
fn a_clock_set_back_locks_nobody_out() {
    let throttle = throttle();
    assert_eq!(guesses(&throttle, "ann", home(1), at(1_000_000)), 10);
    let wait = throttle.admit("ann", home(1), at(0)).refused().unwrap();
    assert!(wait <= 36.0, "no longer than one failure takes to leak: {wait}");
    assert_eq!(guesses(&throttle, "ann", home(1), at(3_600)), 10);
}

#[test]
fn switched_off_it_admits_everything() {
    let throttle = Throttle::new(ThrottleConfig { enabled: false, ..ThrottleConfig::default() }, KEY);
    for _ in 0..1_000 {
        throttle.admit("ann", home(1), at(0)).go().refused(at(0));
    }
    assert!(throttle.admit("ann", home(1), at(0)).go().bottlenecks().is_none());
}

#[test]
fn behind_a_proxy_only_accounts_have_limits() {
    let throttle = throttle();
    let proxy = Sender::proxy(home(1));
    for n in 0..1_000 {
        throttle.admit(&format!("account {n}"), proxy, at(0)).go().refused(at(0));
    }
    let flying: Vec<Attempt> =
        (0..2_000).map(|n| throttle.admit(&format!("somebody {n}"), proxy, at(0)).go()).collect();
    flying.into_iter().for_each(|attempt| attempt.succeeded(at(0)));
    for _ in 0..10 {
        throttle.admit("ann", proxy, at(0)).go().refused(at(0));
    }
    assert_eq!(throttle.admit("ann", proxy, at(0)).refused(), Some(6.0));
    assert_eq!(guesses(&throttle, "bob", home(1), at(0)), 10, "its own address was never counted");
}

#[test]
fn a_limit_of_zero_is_switched_off_alone() {
    let config = ThrottleConfig { per_account_and_address_per_minute: 0, ..ThrottleConfig::default() };
    assert_eq!(guesses(&Throttle::new(config, KEY), "ann", home(1), at(0)), 100);
    let config = ThrottleConfig { per_account_and_address_per_minute: u32::MAX, ..config };
    assert_eq!(guesses(&Throttle::new(config, KEY), "ann", home(1), at(0)), 100);
}

#[test]
fn a_limit_of_one_lets_one_through() {
    let config = ThrottleConfig { per_account_and_address_per_minute: 1, ..ThrottleConfig::default() };
    let throttle = Throttle::new(config, KEY);
    let attempt = throttle.admit("ann", home(1), at(0)).go();
    assert!(throttle.admit("ann", home(1), at(0)).waits());
    attempt.refused(at(0));
    assert_eq!(throttle.admit("ann", home(1), at(0)).refused(), Some(60.0));
}

fn sizes(throttle: &Throttle) -> (usize, usize, usize) {
    let tables = throttle.shared.lock();
    (tables.pairs.len(), tables.addresses.len(), tables.accounts.len())
}

#[test]
fn the_tables_stop_growing() {
    let throttle = Throttle::with_capacity(ThrottleConfig::default(), KEY, CROWD, 500);
    for n in 0..5_000 {
        throttle.admit(&format!("invented {n}"), home(n), at(0)).go().refused(at(0));
    }
    assert_eq!(sizes(&throttle), (500, 500, 500));
}

#[test]
fn expired_entries_are_replaced_before_a_table_grows() {
    let throttle = throttle();
    for minute in 0..200 {
        for n in 0..100 {
            let customer = (minute * 100 + n) as u32;
            throttle.admit(&format!("{customer}"), home(customer), at(minute * 60)).go().refused(at(minute * 60));
        }
    }
    let (pairs, addresses, _) = sizes(&throttle);
    assert!(pairs < 1_000 && addresses < 1_000, "{pairs} {addresses}");
}

#[test]
fn inventions_do_not_push_out_a_guessers_record() {
    let throttle = Throttle::with_capacity(ThrottleConfig::default(), KEY, CROWD, 500);
    assert_eq!(guesses(&throttle, "ann", home(0), at(0)), 10);
    for n in 1..5_000 {
        throttle.admit(&format!("invented {n}"), home(n), at(0)).go().refused(at(0));
    }
    assert!(throttle.admit("ann", home(0), at(0)).refused().is_some());
}

#[test]
fn inventions_push_out_few_of_the_addresses_that_succeeded() {
    let throttle = Throttle::with_capacity(ThrottleConfig::default(), KEY, CROWD, 1_000);
    (0..1_000).for_each(|n| login(&throttle, &format!("customer {n}"), home(n), at(0)));
    for n in 1_000..20_000 {
        throttle.admit(&format!("invented {n}"), home(n), at(0)).go().refused(at(0));
    }
    let mut tables = throttle.shared.lock();
    let keys = &throttle.shared.keys;
    let known = (0..1_000).filter(|n| {
        let keys = super::Keys::new(keys, &(&format!("customer {n}")).into(), home(*n).into());
        tables.admit(&keys, at(0)).is_ok_and(|places| !places.on_account)
    });
    assert!(known.count() > 950);
}

#[test]
fn an_entry_in_flight_is_never_given_up() {
    let throttle = Throttle::with_capacity(ThrottleConfig::default(), KEY, CROWD, 10);
    let flying: Vec<Attempt> = (0..100).map(|n| throttle.admit(&format!("{n}"), home(n), at(0)).go()).collect();
    assert_eq!(sizes(&throttle), (100, 100, 100), "beyond its capacity if need be");
    flying.into_iter().for_each(|attempt| attempt.refused(at(0)));
    for n in 0..100 {
        assert_eq!(guesses(&throttle, &format!("{n}"), home(n), at(0)), 9);
    }
}

#[test]
fn an_entry_is_small() {
    const { assert!(Table::<Trusted>::ENTRY_BYTES <= 120, "and five more in the index") };
    const { assert!(Table::<()>::ENTRY_BYTES <= 48) };
}

#[test]
fn a_limit_that_divides_no_window_is_rounded_against_the_guesser() {
    let mut bucket = super::bucket::Bucket::new(START);
    let limit = Limit::new(7, MINUTE);
    (0..7).for_each(|_| bucket.fail(&limit, START));
    assert!(bucket.weight(START) >= MINUTE);
}

#[test]
fn what_is_left_counts_down_with_failures_and_back_up_with_time() {
    let throttle = throttle();
    let left = |address, now| -> Vec<_> {
        throttle.quotas("ann", address, now).iter().map(|quota| (quota.name, quota.limit, quota.remaining)).collect()
    };
    assert_eq!(left(home(1), at(0)), [("account", 10, 10), ("address", 100, 100)]);

    assert_eq!(guesses(&throttle, "ann", home(1), at(0)), 10);

    assert_eq!(left(home(1), at(0)), [("account", 10, 0), ("address", 100, 90)]);
    assert_eq!(throttle.quotas("ann", home(1), at(0))[0].full_after, MINUTE);
    assert_eq!(left(home(1), at(6)), [("account", 10, 1), ("address", 100, 100)]);
    assert_eq!(left(home(1), at(60)), [("account", 10, 10), ("address", 100, 100)]);
    assert_eq!(left(home(2), at(0)), [("account", 10, 10), ("address", 100, 100)], "other addresses are not told");
}

#[test]
fn what_is_left_is_what_is_let_through() {
    for failures in 0..10 {
        let throttle = throttle();
        for _ in 0..failures {
            throttle.admit("ann", home(1), at(0)).go().refused(at(0));
        }
        let left = throttle.quotas("ann", home(1), at(3))[0].remaining as usize;
        assert_eq!(guesses(&throttle, "ann", home(1), at(3)), left);
    }
}

#[test]
fn behind_a_proxy_only_the_account_has_a_limit_and_without_a_throttle_nothing_has() {
    let names = |throttle: &Throttle| -> Vec<_> {
        throttle.quotas("ann", Sender::proxy(home(1)), at(0)).iter().map(|quota| quota.name).collect()
    };
    assert_eq!(names(&throttle()), ["account"]);
    let off = Throttle::new(ThrottleConfig { enabled: false, ..ThrottleConfig::default() }, KEY);
    assert_eq!(names(&off), [""; 0]);
}

#[test]
fn another_limit_counts_what_failed_before_as_the_same_part_of_it_and_may_be_none() {
    let throttle = Throttle::new(ThrottleConfig::default(), KEY);
    let now = Timestamp::from_micros(0);
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let fail = || match throttle.admit("ada", address, now) {
        Admission::Go(attempt) => {
            attempt.refused(now);
            true
        }
        Admission::Wait(_) | Admission::Refuse(_) => false,
    };
    assert!((0..10).all(|_| fail()) && !fail());
    let wider = ThrottleConfig { per_account_and_address_per_minute: 20, ..ThrottleConfig::default() };
    throttle.reconfigure(wider);
    assert!(!fail(), "the limit was reached, and is");
    throttle.reconfigure(ThrottleConfig { enabled: false, ..wider });
    assert!(fail() && throttle.quotas("ada", address, now).is_empty());
    throttle.reconfigure(wider);
    assert!(!fail(), "what failed before is not forgotten");
}

#[test]
fn every_spelling_of_an_email_is_one_account() {
    let throttle = throttle();
    for spelling in ["Ann@x", " ann@x", "ANN@X ", "ann@x", "aNN@x"] {
        for _ in 0..2 {
            throttle.admit(spelling, home(1), at(0)).go().refused(at(0));
        }
    }
    assert_eq!(throttle.admit("\tann@X", home(1), at(0)).refused(), Some(6.0));
}

#[test]
fn a_proof_lets_its_account_in_whatever_strangers_fail_at() {
    let proxy = Sender::proxy(home(1));
    for sender in [Sender::from(home(1)), proxy] {
        let throttle = throttle();
        for _ in 0..10 {
            throttle.admit("ann", sender, at(0)).go().refused(at(0));
        }
        assert!(throttle.admit("ann", sender, at(0)).refused().is_some());
        let known = sender.with_proof(Some(Proof([1; 32])));
        throttle.admit("ann", known, at(0)).go().succeeded(at(0));
        let quotas = throttle.quotas("ann", known, at(0));
        assert_eq!(quotas.iter().map(|quota| (quota.name, quota.remaining)).collect::<Vec<_>>(), [("proof", 10)]);
        assert!(throttle.admit("ann", sender, at(0)).refused().is_some(), "strangers are slowed as before");
    }
}

#[test]
fn a_stolen_proof_gains_ten_guesses_an_hour_that_count_for_nobody_else() {
    let throttle = throttle();
    let thief = Sender::from(home(66)).with_proof(Some(Proof([1; 32])));
    let let_through = |now| {
        let mut guesses = 0;
        while let Admission::Go(attempt) = throttle.admit("ann", thief, now) {
            attempt.refused(now);
            guesses += 1;
        }
        guesses
    };
    assert_eq!(let_through(at(0)), 20, "ten with the proof, and ten as the stranger that its sender then is");
    assert_eq!(let_through(at(60)), 10, "of the proof, one comes back in six minutes");
    let owner = Sender::from(home(1)).with_proof(Some(Proof([2; 32])));
    throttle.admit("ann", owner, at(60)).go().succeeded(at(60));
    throttle.admit("ann", home(1), at(60)).go().succeeded(at(60));
    throttle.admit("bob", thief, at(60)).go().failed_to_check();
}

#[test]
fn guesses_with_one_proof_at_once_gain_nothing() {
    let throttle = throttle();
    let thief = Sender::from(home(66)).with_proof(Some(Proof([1; 32])));
    let flying: Vec<_> = (0..10).map(|_| throttle.admit("ann", thief, at(0)).go()).collect();
    assert!(throttle.admit("ann", thief, at(0)).waits());
    flying.into_iter().for_each(|attempt| attempt.refused(at(0)));
    throttle.admit("ann", thief, at(0)).go().refused(at(0));
    assert_eq!(throttle.quotas("ann", thief, at(0))[0].name, "account", "its sender is a stranger");
}

#[test]
fn known_addresses_are_handed_out_once_for_each_change_and_are_known_to_the_next_throttle() {
    let before = throttle();
    for n in 1..=9 {
        login(&before, "ann", home(n), at(0));
    }
    login(&before, "ann", home(9), at(1));
    let taken = before.take_changed(100);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].addresses.len(), 8);
    assert!(before.take_changed(100).is_empty());
    login(&before, "ann", home(9), at(2));
    assert!(before.take_changed(100).is_empty(), "the order of the addresses is as it was");

    let after = Throttle::new(ThrottleConfig::default(), KEY);
    after.remember(&taken, at(3));

    for n in 100..110 {
        assert_eq!(guesses(&after, "ann", home(n), at(3)), 10);
    }
    assert!(after.admit("ann", home(200), at(3)).refused().is_some());
    assert!(after.admit("ann", home(1), at(3)).refused().is_some(), "eight others have signed in since");
    after.admit("ann", home(2), at(3)).go().succeeded(at(3));
    after.admit("ann", home(9), at(3)).go().succeeded(at(3));
}

#[test]
fn an_address_is_known_to_the_very_customer_who_signed_in_from_it_and_to_no_other_spelling() {
    let throttle = throttle();
    login(&throttle, "Ann", home(1), at(0));
    for n in 100..110 {
        assert_eq!(guesses(&throttle, "ann", home(n), at(0)), 10);
    }
    assert!(throttle.admit("ann", home(1), at(0)).refused().is_some(), "another customer of a remote server");
    throttle.admit("Ann", home(1), at(0)).go().succeeded(at(0));
}

#[test]
fn an_address_that_is_a_proxys_is_never_known() {
    let throttle = throttle();
    throttle.admit("ann", Sender::proxy(home(1)), at(0)).go().succeeded(at(0));
    assert!(throttle.take_changed(100).is_empty());
    let mut passed = 0;
    for minute in 0..60 {
        while let Admission::Go(attempt) = throttle.admit("ann", Sender::proxy(home(1)), at(minute * 60)) {
            attempt.refused(at(minute * 60));
            passed += 1;
        }
    }
    assert!((100..200).contains(&passed), "the limit of the account holds: {passed}");
}
