//! Guess throttling: who must wait before another password is checked.
//!
//! Owns the counts of failed checks. Pure and synchronous: it never reads a clock, waits, or logs; the waiting is
//! `gate`'s, which is the only caller. Counts are in memory: a restart forgets failures. The addresses from which
//! customers have signed in are handed to `known_addresses`, which stores them.
//!
//! # The rule
//!
//! Only failed checks count, against four limits, each a bucket that leaks steadily (the generic cell rate algorithm):
//!
//! | bucket              | default      | applies to                                                       |
//! |---------------------|--------------|------------------------------------------------------------------|
//! | account and address | 10 a minute  | strangers                                                        |
//! | address             | 100 a minute | strangers                                                        |
//! | account             | 100 an hour  | strangers whose address is not among the account's 8 known ones  |
//! | account and proof   | 10 an hour   | senders with a proof; once it is full they are strangers         |
//!
//! An account is known by its canonical email. A [`Proof`] shows that its sender has signed in to this account before: a
//! device cookie, or the token of a live session. Such an attempt is judged by the bucket of its proof and by no other,
//! and its failure counts there alone, so that nobody else's failures hold it up. An address is known to an account
//! from its last sign-in on, until eight others have signed in.
//!
//! An IPv6 address stands for its /64, an IPv4-mapped one for the IPv4 address. Behind a proxy ([`Sender::proxy`]) all
//! customers have its address: that has no limit, the limit of account and address is one of the account's, and the
//! address never becomes known.
//!
//! [`Throttle::admit`] comes before the check and does not see the password. Its [`Attempt`] holds a place in each
//! bucket until the outcome is known, so guesses made at once cannot pass uncounted:
//!
//! - a bucket holding as many *failures* as its limit refuses, with the time until the next one has leaked;
//! - a bucket of an account, or of an account and address, whose failures *and attempts in flight* reach the limit makes
//!   the next attempt wait for one to settle, so that nobody is refused for being many at once;
//! - a bucket of an address makes the next attempt wait only while 512 are in flight, whatever failed lately: what one
//!   customer behind it mistypes, or how slowly one is checked, delays no other.
//!
//! Nobody is refused who has not failed. To let honest crowds through without waiting, every success earns its (account,
//! address) and its address room for one more attempt in flight, up to 4,096; the first failure, or a window without a
//! success, takes all of it away.
//!
//! # The bound
//!
//! In any window a bucket lets through at most twice its limit in guesses (the limit at once, the rest as it leaks),
//! however many are made in parallel: 20 a minute for one account from one address, 200 an hour for one account from
//! addresses that it does not know, 20 an hour with one proof. An address lets through as much, 200 a minute, and those that were in flight
//! when its limit was reached: 512 more. Each of these counts and takes its time to leak, so that the average stays the
//! limit: 100 a minute for as long as it goes on, and 612 once. Without a good password a guesser earns nothing more.
//! Where others succeed (behind one web server, say), each of their successes pays for at most one more guess, and 4,096
//! at once: a burst may use up what they earned, and its first failure ends it. A bucket never holds more than twice its
//! limit (an address 512 more), so that no refusal lasts longer than some minutes: nobody is locked out.
//!
//! # Memory
//!
//! Each table holds 100,000 entries of at most 128 bytes, known by a keyed 64-bit hash, never by name. A full table
//! gives up the least harmful of the next 64 entries: never one in flight, an address's successes last, the highest
//! count of failures late. A guesser who invents accounts or addresses pushes out his inventions, not his record.

mod account;
mod bucket;
mod table;
#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard};

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::bucket::{Limit, Room};
use self::table::{Table, Trusted};
use crate::clock::Timestamp;
use crate::config;
use crate::store::KnownAddresses;

pub use self::account::{Account, Kind, Proof, Sender};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// How many checks for different accounts one address may have in flight, whatever failed lately: the customers of one
/// web server or one office must not wait for each other because one of them mistyped.
const CROWD: u32 = 512;

/// How many entries each table holds; only attempts in flight may exceed it.
const CAPACITY: usize = 100_000;

/// How many failed checks are let through. A limit of zero switches that one limit off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Whether anything is throttled at all.
    pub enabled: bool,
    /// Failures a minute for one account from one address.
    pub per_account_and_address_per_minute: u32,
    /// Failures a minute from one address (IPv6: from one /64), for all accounts.
    pub per_address_per_minute: u32,
    /// Failures an hour for one account, above which addresses that never succeeded for it are slowed.
    pub per_account_per_hour: u32,
    /// Failures an hour for one account with one proof, above which its sender counts as a stranger.
    pub per_proof_per_hour: u32,
}

impl ThrottleConfig {
    /// As it is configured.
    pub fn of(configured: &config::Throttle) -> Self {
        Self {
            enabled: configured.enabled,
            per_account_and_address_per_minute: configured.per_account_and_address,
            per_address_per_minute: configured.per_address,
            per_account_per_hour: configured.per_account,
            per_proof_per_hour: configured.per_proof,
        }
    }

    /// The limits of account and address, of an address, of an account, and of account and proof.
    fn limits(self, crowd: u32) -> [Limit; 4] {
        [
            Limit::new(self.per_account_and_address_per_minute, MINUTE),
            Limit::new(self.per_address_per_minute, MINUTE).with_crowd(crowd),
            Limit::new(self.per_account_per_hour, HOUR),
            Limit::new(self.per_proof_per_hour, HOUR),
        ]
    }
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            per_account_and_address_per_minute: 10,
            per_address_per_minute: 100,
            per_account_per_hour: 100,
            per_proof_per_hour: 10,
        }
    }
}

/// The counts of failed checks, shared by all requests.
pub struct Throttle {
    is_on: AtomicBool,
    crowd: u32,
    shared: Arc<Shared>,
}

impl Throttle {
    /// A throttle that has seen no failure yet. `key` is the desk's secret under which accounts and addresses are
    /// hashed: the same at each start, as the hashes are stored.
    pub fn new(config: ThrottleConfig, key: [u8; 32]) -> Self {
        Self::with_capacity(config, key, CROWD, CAPACITY)
    }

    fn with_capacity(config: ThrottleConfig, key: [u8; 32], crowd: u32, capacity: usize) -> Self {
        let [pair, address, account, proof] = config.limits(crowd);
        let tables = Tables {
            pairs: Table::new(pair, capacity),
            addresses: Table::new(address, capacity),
            accounts: Table::new(account, capacity),
            proofs: Table::new(proof, capacity),
            changed: HashSet::new(),
            most_changed: capacity,
        };
        let keys = Hashes { key, passing: RandomState::new() };
        let shared = Arc::new(Shared { keys, tables: Mutex::new(tables) });
        Self { is_on: AtomicBool::new(config.enabled), crowd, shared }
    }

    /// Puts other limits in force. What has failed stays counted, as the same part of its limit.
    pub fn reconfigure(&self, config: ThrottleConfig) {
        let [pair, address, account, proof] = config.limits(self.crowd);
        let mut tables = self.shared.lock();
        tables.pairs.set_limit(pair);
        tables.addresses.set_limit(address);
        tables.accounts.set_limit(account);
        tables.proofs.set_limit(proof);
        self.is_on.store(config.enabled, Ordering::Relaxed);
    }

    /// The counts, unless throttling is off.
    fn in_force(&self) -> Option<&Arc<Shared>> {
        self.is_on.load(Ordering::Relaxed).then_some(&self.shared)
    }

    /// What is left of `sender`'s failures for `account`, and of those from the address for all; with a proof that is
    /// not used up, only what is left of that. Nothing if throttling is off. Depends on what this sender has failed at,
    /// and not on whether the account exists; it tells nothing of other addresses' failures.
    pub fn quotas<'a>(&self, account: impl Into<Account<'a>>, sender: impl Into<Sender>, now: Timestamp) -> Vec<Quota> {
        let Some(shared) = self.in_force() else { return Vec::new() };
        let keys = Keys::new(&shared.keys, &account.into(), sender.into());
        let tables = shared.lock();
        if let Some(proof) = keys.proof {
            let left = tables.proofs.quota("proof", tables.proofs.find(proof), now);
            if left.is_some_and(|quota| quota.remaining > 0) {
                return left.into_iter().collect();
            }
        }
        let account = tables.accounts.find(keys.account);
        let of_pair = tables.pairs.quota("account", tables.pairs.find(tables.pair(&keys, account)), now);
        let of_address = tables.addresses.quota("address", tables.addresses.find(keys.address), now);
        of_pair.into_iter().chain(of_address.filter(|_| !keys.proxied)).collect()
    }

    /// Decides whether a password for `account`, sent by `sender`, may be checked at `now`.
    ///
    /// Depends on earlier outcomes only: neither on the password nor on whether the account exists. Waiting and refused
    /// attempts leave no trace, so asking again costs nobody anything.
    pub fn admit<'a>(&self, account: impl Into<Account<'a>>, sender: impl Into<Sender>, now: Timestamp) -> Admission {
        let Some(shared) = self.in_force() else { return Admission::Go(Attempt { hold: None }) };
        let keys = Keys::new(&shared.keys, &account.into(), sender.into());
        let admitted = shared.lock().admit(&keys, now);
        match admitted {
            Ok(places) => {
                Admission::Go(Attempt { hold: Some(Hold { shared: Arc::clone(shared), places, since: now }) })
            }
            Err(Obstacle::Full(bottleneck)) => Admission::Wait(bottleneck),
            Err(Obstacle::Spent(refusal)) => Admission::Refuse(refusal),
        }
    }

    /// Forgets what failed for an account until `now`, from all addresses. What failed from an address for all accounts
    /// stays, and attempts in flight still count if they fail.
    pub fn forgive(&self, account: &Account<'_>, now: Timestamp) {
        let shared = &self.shared;
        let key = shared.keys.account(account);
        let mut tables = shared.lock();
        let accounts = &mut tables.accounts;
        let place = accounts.find(key);
        let place = accounts.enter(place, key, false, now);
        accounts.forgive(place, now);
        accounts.extra_mut(place).amnesty();
        accounts.leave(place, false);
    }

    /// Makes stored addresses known again.
    pub fn remember(&self, stored: &[KnownAddresses], now: Timestamp) {
        let mut tables = self.shared.lock();
        for KnownAddresses { account, addresses } in stored {
            let place = tables.accounts.find(*account);
            let place = tables.accounts.enter(place, *account, false, now);
            for address in addresses.iter().rev() {
                tables.accounts.extra_mut(place).insert(*address);
            }
            tables.accounts.touch(place, now);
            tables.accounts.leave(place, false);
        }
    }

    /// Takes the known addresses of up to `most` accounts for which they have changed since they were last taken.
    pub fn take_changed(&self, most: usize) -> Vec<KnownAddresses> {
        let mut tables = self.shared.lock();
        let accounts: Vec<_> = tables.changed.iter().take(most).copied().collect();
        let taken = accounts.into_iter().filter_map(|account| {
            tables.changed.remove(&account);
            let place = tables.accounts.find(account)?;
            Some(KnownAddresses { account, addresses: tables.accounts.extra(place).addresses() })
        });
        taken.collect()
    }

    /// Marks accounts as changed once more, whose addresses were taken for nothing.
    pub fn give_back(&self, taken: &[KnownAddresses]) {
        let mut tables = self.shared.lock();
        for KnownAddresses { account, .. } in taken {
            tables.note_change(*account);
        }
    }
}

/// What one limit still lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The limit's name: lower-case letters.
    pub name: &'static str,
    /// How much it lets through at once.
    pub limit: u32,
    /// The time in which all of that becomes free again; never zero.
    pub window: Duration,
    /// How much it lets through at this moment; at most `limit`.
    pub remaining: u32,
    /// When all of it is free again, if no more is used.
    pub full_after: Duration,
}

/// The answer to the question whether a password may be checked now.
#[must_use]
pub enum Admission {
    /// Yes; the attempt must be told the outcome.
    Go(Attempt),
    /// Not while so many others are being checked: ask again when one at this bottleneck has settled.
    Wait(Bottleneck),
    /// No: HTTP status 429 with `Retry-After`.
    Refuse(TooManyAttempts),
}

/// Too many checks failed lately. The same for good and bad passwords, known and unknown accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts, try again in {retry_after:?}")]
pub struct TooManyAttempts {
    /// When to try again; never zero.
    pub retry_after: Duration,
    /// Which limit says so; of several that with the longest time.
    pub limit: Limited,
    /// How many failures it counts at the moment.
    pub failures: u32,
}

/// What a limit counts failures of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// One account from one address.
    AccountAndAddress,
    /// One address.
    Address,
    /// One account.
    Account,
}

/// The bucket that is full of attempts in flight. Names a place in a table while any of them is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bottleneck {
    /// Of one account and address.
    Pair(u32),
    /// Of one address.
    Address(u32),
    /// Of one account.
    Account(u32),
    /// Of one account and proof.
    Proof(u32),
}

/// One admitted check, which holds its place in the buckets until the outcome is told.
///
/// Dropped without an outcome it counts as a failure: the check may have run, and its answer may have leaked by other
/// ways. A client that hangs up does not drop it, for its check runs to the end; only a server that goes down does.
#[must_use = "an attempt dropped without an outcome counts as a failure"]
pub struct Attempt {
    /// None when throttling is off, or once settled.
    hold: Option<Hold>,
}

struct Hold {
    shared: Arc<Shared>,
    places: Places,
    since: Timestamp,
}

impl Attempt {
    /// The password was right: gives the places back, and remembers the address for the account.
    pub fn succeeded(mut self, now: Timestamp) {
        self.settle(Outcome::Succeeded, Some(now));
    }

    /// The password was wrong, or the account does not exist: counts one failure.
    pub fn refused(mut self, now: Timestamp) {
        self.settle(Outcome::Refused, Some(now));
    }

    /// The check itself failed and said nothing about the password: gives the places back.
    pub fn failed_to_check(mut self) {
        self.settle(Outcome::Unknown, None);
    }

    /// Where this attempt holds a place, and somebody may wait for it. None when throttling is off.
    pub fn bottlenecks(&self) -> Option<[Bottleneck; 3]> {
        self.hold.as_ref().map(|Hold { places, .. }| {
            let own = match places.own {
                Own::Pair(place) => Bottleneck::Pair(place),
                Own::Proof(place) => Bottleneck::Proof(place),
            };
            [own, Bottleneck::Address(places.address), Bottleneck::Account(places.account)]
        })
    }

    fn settle(&mut self, outcome: Outcome, now: Option<Timestamp>) {
        if let Some(Hold { shared, places, since }) = self.hold.take() {
            shared.lock().settle(&places, outcome, now.unwrap_or(since));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Counted as of its admission, there being no later time at hand: it began to leak then.
        self.settle(Outcome::Refused, None);
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Succeeded,
    Refused,
    Unknown,
}

/// One lock over all tables: it is held for some hundred nanoseconds, and an attempt is in several tables at once.
struct Shared {
    keys: Hashes,
    tables: Mutex<Tables>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }
}

/// Keyed hashes, which nobody outside can make collide.
struct Hashes {
    /// For hashes that are stored.
    key: [u8; 32],
    /// For those that last as long as the process.
    passing: RandomState,
}

impl Hashes {
    fn account(&self, account: &Account<'_>) -> u64 {
        let kind = match account.kind() {
            Kind::Customer => b'c',
            Kind::Operator => b'o',
        };
        self.stored(kind, account.name().as_bytes())
    }

    fn address(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.stored(b'4', &v4.octets()),
            // The network, which one customer has whole.
            IpAddr::V6(v6) => self.stored(b'6', &v6.octets()[..8]),
        }
    }

    /// An address as one that this very customer has signed in from.
    fn known(&self, account: &Account<'_>, address: u64) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(b"k").update(&address.to_le_bytes()).update(account.identity().as_bytes());
        Self::half(&hasher)
    }

    fn stored(&self, kind: u8, name: &[u8]) -> u64 {
        Self::half(blake3::Hasher::new_keyed(&self.key).update(&[kind]).update(name))
    }

    fn half(hasher: &blake3::Hasher) -> u64 {
        let whole = hasher.finalize();
        let mut half = [0; 8];
        half.copy_from_slice(&whole.as_bytes()[..8]);
        u64::from_le_bytes(half)
    }
}

/// By what an attempt is known.
struct Keys {
    pair: u64,
    address: u64,
    account: u64,
    /// The address as one that is known to the account.
    known: u64,
    proof: Option<u64>,
    /// Whether the address is a proxy's, so that its own limit does not hold it and it is never known.
    proxied: bool,
}

impl Keys {
    fn new(hashes: &Hashes, account: &Account<'_>, sender: Sender) -> Self {
        let (name, address) = (hashes.account(account), hashes.address(sender.address));
        Self {
            pair: hashes.passing.hash_one((name, address)),
            address,
            account: name,
            known: hashes.known(account, address),
            proof: sender.proof.map(|Proof(proof)| hashes.passing.hash_one((name, proof))),
            proxied: sender.is_proxy,
        }
    }
}

struct Tables {
    pairs: Table<()>,
    addresses: Table<()>,
    accounts: Table<Trusted>,
    proofs: Table<()>,
    /// The accounts whose known addresses have changed since they were taken; never more than `most_changed`.
    changed: HashSet<u64>,
    most_changed: usize,
}

/// Where one attempt stands in the tables. Its entries stay put while it is in flight.
struct Places {
    own: Own,
    address: u32,
    account: u32,
    account_key: u64,
    known_key: u64,
    /// Whether the limit of the address holds it.
    on_address: bool,
    /// Whether the limit of the account holds it.
    on_account: bool,
    proxied: bool,
}

/// The bucket that is the sender's own.
enum Own {
    /// A stranger's, of account and address.
    Pair(u32),
    /// Of account and proof.
    Proof(u32),
}

enum Obstacle {
    Full(Bottleneck),
    Spent(TooManyAttempts),
}

impl Tables {
    fn admit(&mut self, keys: &Keys, now: Timestamp) -> Result<Places, Obstacle> {
        let account = self.accounts.find(keys.account);
        if let Some(own) = keys.proof.and_then(|key| self.admit_known(key, now)) {
            return Ok(self.enter(keys, account, own?, false, false, now));
        }
        let pair_key = self.pair(keys, account);
        let pair = self.pairs.find(pair_key);
        let address = self.addresses.find(keys.address);
        let trusted = account.is_some_and(|place| self.accounts.extra(place).contains(keys.known));
        let (address_in_force, account_in_force) = (address.filter(|_| !keys.proxied), account.filter(|_| !trusted));
        self.look(pair, address_in_force, account_in_force, now)?;
        let own = Own::Pair(self.pairs.enter(pair, pair_key, true, now));
        Ok(self.enter(keys, account, own, !keys.proxied, !trusted, now))
    }

    /// Judges by the bucket of a proof. None if that is used up: then its sender is a stranger.
    fn admit_known(&mut self, key: u64, now: Timestamp) -> Option<Result<Own, Obstacle>> {
        let place = self.proofs.find(key);
        match place.map_or(Room::Free, |place| self.proofs.room(place, now)) {
            Room::Free => Some(Ok(Own::Proof(self.proofs.enter(place, key, true, now)))),
            Room::Full => place.map(|place| Err(Obstacle::Full(Bottleneck::Proof(place)))),
            Room::Spent(_) => None,
        }
    }

    fn enter(
        &mut self,
        keys: &Keys,
        account: Option<u32>,
        own: Own,
        on_address: bool,
        on_account: bool,
        now: Timestamp,
    ) -> Places {
        let address = self.addresses.find(keys.address);
        Places {
            own,
            address: self.addresses.enter(address, keys.address, on_address, now),
            account: self.accounts.enter(account, keys.account, on_account, now),
            account_key: keys.account,
            known_key: keys.known,
            on_address,
            on_account,
            proxied: keys.proxied,
        }
    }

    /// The key of an account and an address: another one after each amnesty of the account.
    fn pair(&self, keys: &Keys, account: Option<u32>) -> u64 {
        // Odd, so that no two amnesties have one product.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let amnesties = account.map_or(0, |place| self.accounts.extra(place).amnesties());
        keys.pair ^ u64::from(amnesties).wrapping_mul(SPREAD)
    }

    /// A refusal by any bucket goes before waiting at another, and names the longest time.
    fn look(
        &mut self,
        pair: Option<u32>,
        address: Option<u32>,
        account: Option<u32>,
        now: Timestamp,
    ) -> Result<(), Obstacle> {
        let rooms = [
            pair.map(|at| (self.pairs.room(at, now), Bottleneck::Pair(at), Limited::AccountAndAddress)),
            address.map(|at| (self.addresses.room(at, now), Bottleneck::Address(at), Limited::Address)),
            account.map(|at| (self.accounts.room(at, now), Bottleneck::Account(at), Limited::Account)),
        ];
        let (mut full, mut spent) = (None, None::<(Duration, Limited)>);
        for (room, bottleneck, limit) in rooms.into_iter().flatten() {
            match room {
                Room::Free => {}
                Room::Full => full = full.or(Some(bottleneck)),
                Room::Spent(after) if spent.is_none_or(|(longest, _)| after > longest) => {
                    spent = Some((after, limit));
                }
                Room::Spent(_) => {}
            }
        }
        let Some((retry_after, limit)) = spent else { return full.map_or(Ok(()), |at| Err(Obstacle::Full(at))) };
        let failures = match limit {
            Limited::AccountAndAddress => pair.map(|place| self.pairs.failures(place, now)),
            Limited::Address => address.map(|place| self.addresses.failures(place, now)),
            Limited::Account => account.map(|place| self.accounts.failures(place, now)),
        };
        Err(Obstacle::Spent(TooManyAttempts { retry_after, limit, failures: failures.unwrap_or_default() }))
    }

    fn settle(&mut self, places: &Places, outcome: Outcome, now: Timestamp) {
        self.addresses.leave(places.address, places.on_address);
        self.accounts.leave(places.account, places.on_account);
        let (own, place) = match places.own {
            Own::Pair(place) => (&mut self.pairs, place),
            Own::Proof(place) => (&mut self.proofs, place),
        };
        own.leave(place, true);
        match outcome {
            Outcome::Succeeded => {
                own.succeed(place, now);
                if places.on_address {
                    self.addresses.succeed(places.address, now);
                }
                self.accounts.touch(places.account, now);
                if !places.proxied {
                    self.know(places);
                }
            }
            Outcome::Refused => {
                own.fail(place, now);
                if places.on_address {
                    self.addresses.fail(places.address, now);
                }
                if places.on_account {
                    self.accounts.fail(places.account, now);
                } else if matches!(places.own, Own::Pair(_)) {
                    // Failures of known addresses slow the others, but only up to the limit: owners must not be able
                    // to keep their own next device waiting for hours.
                    self.accounts.fail_within_limit(places.account, now);
                }
            }
            Outcome::Unknown => {}
        }
    }

    /// Makes the address of an attempt known to its account.
    fn know(&mut self, places: &Places) {
        let is_new = self.accounts.extra_mut(places.account).insert(places.known_key);
        if is_new {
            self.note_change(places.account_key);
        }
    }

    fn note_change(&mut self, account: u64) {
        if self.changed.len() < self.most_changed {
            self.changed.insert(account);
        }
    }
}
