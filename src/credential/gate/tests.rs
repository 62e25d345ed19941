use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Admitted, Gate, NotAdmitted};
use crate::clock::Timestamp;
use crate::credential::throttle::ThrottleConfig;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LONG: Duration = Duration::from_secs(60);
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(ThrottleConfig::default(), [7; 32]))
}

async fn admit(gate: &Gate, account: &str) -> Result<Admitted, NotAdmitted> {
    gate.admit(account, HOME, LONG, || NOW).await
}

/// Checks one password after another, all at once, and returns how many were checked and the most at the same time.
async fn crowd(gate: &Arc<Gate>, accounts: impl Iterator<Item = String>, right: bool) -> (usize, usize) {
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let mut running = JoinSet::new();
    for account in accounts {
        let (gate, counts) = (Arc::clone(gate), Arc::clone(&counts));
        running.spawn(async move {
            let Ok(admitted) = admit(&gate, &account).await else { return false };
            counts.1.fetch_max(counts.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            counts.0.fetch_sub(1, Ordering::SeqCst);
            if right {
                admitted.succeeded(NOW);
            } else {
                admitted.refused(NOW);
            }
            true
        });
    }
    let mut checked = 0;
    while let Some(done) = running.join_next().await {
        checked += usize::from(done.unwrap());
    }
    assert_eq!(gate.queues.waiting.load(Ordering::SeqCst), 0);
    assert!(gate.queues.lock().is_empty(), "nothing is left of the queues");
    (checked, counts.1.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_thousand_right_passwords_at_once_are_all_checked() {
    let (checked, most) = crowd(&gate(), (0..1_000).map(|n| n.to_string()), true).await;
    assert_eq!(checked, 1_000);
    assert!(most > 100, "{most}");
}

#[tokio::test]
async fn fifty_identical_right_passwords_at_once_are_all_checked() {
    assert_eq!(crowd(&gate(), (0..50).map(|_| "ann".to_owned()), true).await.0, 50);
}

#[tokio::test]
async fn of_a_thousand_wrong_passwords_at_once_ten_are_checked() {
    assert_eq!(crowd(&gate(), (0..1_000).map(|_| "ann".to_owned()), false).await, (10, 10));
}

#[tokio::test]
async fn of_wrong_passwords_for_a_thousand_accounts_a_crowd_and_the_limit_are_checked_and_then_nobody() {
    let gate = gate();
    let (checked, most) = crowd(&gate, (0..1_000).map(|n| n.to_string()), false).await;
    // Until the hundredth has failed, each that fails lets one in.
    assert!((512..=512 + 99).contains(&checked), "{checked}");
    assert_eq!(most, 512);
    assert_eq!(crowd(&gate, (1_000..2_000).map(|n| n.to_string()), false).await, (0, 0));
}

#[tokio::test]
async fn one_mistyped_password_takes_no_room_from_the_others_behind_the_address() {
    let gate = gate();
    admit(&gate, "mistyped").await.unwrap().refused(NOW);
    assert_eq!(crowd(&gate, (0..300).map(|n| n.to_string()), true).await, (300, 300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_forgotten_in_line_on_several_threads() {
    let gate = gate();
    for round in 0..20 {
        let accounts = (0..500).map(|n| if n % 3 == 0 { "ann".to_owned() } else { format!("{round} {n}") });
        assert_eq!(crowd(&gate, accounts, true).await.0, 500);
    }
}

#[tokio::test]
async fn who_waits_in_vain_is_refused_when_his_patience_ends() {
    let gate = gate();
    let mut flying = Vec::new();
    for _ in 0..10 {
        flying.push(admit(&gate, "ann").await.unwrap());
    }
    let refusal = gate.admit("ann", HOME, Duration::from_millis(30), || NOW).await.err().unwrap();
    assert_eq!(refusal, NotAdmitted::WaitedInVain);
    flying.pop().unwrap().failed_to_check();
    admit(&gate, "ann").await.unwrap().failed_to_check();
}

#[tokio::test]
async fn who_gives_up_while_being_woken_passes_it_on() {
    let gate = gate();
    let mut flying = Vec::new();
    for _ in 0..10 {
        flying.push(admit(&gate, "ann").await.unwrap());
    }
    let mut waiting = JoinSet::new();
    let (first, second) = (Arc::clone(&gate), Arc::clone(&gate));
    let impatient = waiting.spawn(async move { admit(&first, "ann").await.map(Admitted::failed_to_check) });
    tokio::task::yield_now().await;
    waiting.spawn(async move { admit(&second, "ann").await.map(Admitted::failed_to_check) });
    tokio::task::yield_now().await;
    assert_eq!(gate.queues.waiting.load(Ordering::SeqCst), 2);
    flying.pop().unwrap().failed_to_check();
    impatient.abort();
    assert!(waiting.join_next().await.unwrap().is_err());
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), Ok(()));
}
