//! What every store promises of accounts: that they can be disabled, and that no session is admitted for one that is not
//! any more what was checked.

use std::sync::Arc;

use frontdesk::clock::{Timestamp, WallTime};
use frontdesk::session::NewSession;
use frontdesk::store::{Admission, CheckedAccount, KnownAddresses, MOST_KNOWN_ACCOUNTS, Store};

use super::{Place, WALL, at_once, customer, key, session_of};

pub(super) async fn a_disabled_customer_stays_so_since_the_first_time_until_it_is_enabled(place: &dyn Place) {
    let store = place.open();
    store.add_customer(customer("ann")).await.unwrap();
    let later = WallTime::from_unix_millis(WALL.unix_millis() + 1);
    for since in [WALL, later] {
        store.set_disabled(&key("ann"), Some(since)).await.unwrap();
    }
    drop(store);
    let store = place.open();
    let disabled = async || store.customer(&key("ann")).await.unwrap().unwrap().disabled;
    assert_eq!(disabled().await, Some(WALL));

    store.set_disabled(&key("ann"), None).await.unwrap();

    assert_eq!(disabled().await, None);
    assert!(store.set_disabled(&key("nobody"), None).await.is_err());
}

pub(super) async fn an_account_that_changed_since_it_was_checked_is_to_be_checked_again(place: &dyn Place) {
    let store = place.open();
    store.add_customer(customer("ann")).await.unwrap();
    for change in ["password", "disabled", "removed", "removed and added"] {
        let account = checked(&*store, "hash");
        match change {
            "password" => store.set_password(&key("ann"), "other".into(), None).await.unwrap(),
            "disabled" => store.set_disabled(&key("ann"), Some(WALL)).await.unwrap(),
            _ => store.remove_customer(&key("ann")).await.unwrap(),
        }
        if change == "removed and added" {
            let again = frontdesk::store::Customer { password_hash: "other".into(), ..customer("ann") };
            store.add_customer(again).await.unwrap();
        }

        assert!(!store.is_still(&key("ann"), account).await.unwrap(), "{change}");
        let admission = store.admit(session("ann", account)).await.unwrap();
        assert!(matches!(admission, Admission::AccountChanged), "{change}: {admission:?}");
        assert_eq!(store.live_count(), 0);

        // As it was before.
        let _ = store.remove_customer(&key("ann")).await;
        store.add_customer(customer("ann")).await.unwrap();
    }
}

pub(super) async fn an_account_that_only_others_changes_came_after_is_admitted_with(place: &dyn Place) {
    let store = place.open();
    for name in ["ann", "bob", "cy"] {
        store.add_customer(customer(name)).await.unwrap();
    }
    let account = checked(&*store, "hash");
    assert!(matches!(store.admit(session("ann", account)).await.unwrap(), Admission::Admitted(_)));
    store.set_password(&key("ann"), "other".into(), None).await.unwrap();
    store.set_disabled(&key("cy"), Some(WALL)).await.unwrap();
    store.set_disabled(&key("cy"), None).await.unwrap();

    assert!(store.is_still(&key("bob"), account).await.unwrap());
    assert!(matches!(store.admit(session("bob", account)).await.unwrap(), Admission::Admitted(_)));
    assert!(matches!(store.admit(session("cy", account)).await.unwrap(), Admission::Admitted(_)));
}

/// Whoever removes a customer and then looks for its session finds it, or there is none: whichever came first.
pub(super) async fn creations_and_changes_of_their_account_at_once_leave_nobody_in_who_is_gone(place: &dyn Place) {
    let store = place.open();
    let rounds = (0..50).map(|round| {
        let (store, name) = (Arc::clone(&store), format!("ann {round}"));
        async move {
            store.add_customer(customer(&name)).await.unwrap();
            let account = checked(&*store, "hash");
            let creation = store.admit(session(&name, account));
            let removal = async {
                store.remove_customer(&key(&name)).await.unwrap();
                store.live(&key(&name)).await.unwrap().is_some()
            };
            let (admission, was_found) = tokio::join!(creation, removal);
            let is_admitted = matches!(admission.unwrap(), Admission::Admitted(_));
            assert_eq!(is_admitted, was_found, "{name}");
        }
    });
    at_once(rounds).await;
}

pub(super) async fn the_known_addresses_of_an_account_are_kept_and_those_that_changed_longest_ago_give_way(
    place: &dyn Place,
) {
    let store = place.open();
    let known = |account, addresses: &[u64]| KnownAddresses { account, addresses: addresses.to_vec() };
    let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
    store.keep_known_addresses(vec![known(u64::MAX, &[1, u64::MAX])], at(1)).await.unwrap();
    store.keep_known_addresses(vec![known(7, &[2])], at(2)).await.unwrap();
    store.keep_known_addresses(vec![known(u64::MAX, &[3, 1])], at(3)).await.unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.known_addresses().await.unwrap(), [known(7, &[2]), known(u64::MAX, &[3, 1])]);

    let many = (1_000..1_000 + MOST_KNOWN_ACCOUNTS as u64 - 1).map(|account| known(account, &[4])).collect();
    store.keep_known_addresses(many, at(4)).await.unwrap();

    let all = store.known_addresses().await.unwrap();
    assert_eq!(all.len(), MOST_KNOWN_ACCOUNTS);
    assert_eq!(all[0], known(u64::MAX, &[3, 1]), "the other one has given way");
}

/// The account of whoever has this password hash, as it is now.
fn checked(store: &dyn Store, hash: &str) -> CheckedAccount {
    CheckedAccount::new(store.accounts_seen(), hash)
}

fn session(customer: &str, account: CheckedAccount) -> NewSession {
    NewSession { account: Some(account), ..session_of(customer) }
}
