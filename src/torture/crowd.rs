//! The clients: a few threads with a connection each, which share the customers among themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::clock::boot_time;

use super::Plan;
use super::connection::{Address, Connection};
use super::customer::{Customer, Known};
use super::dice::Dice;
use super::ledger::Ledger;
use super::processes::Marks;

const CLIENTS: usize = 16;
/// Between two calls of one client, in milliseconds: all of them make 800 calls a second at most.
const PAUSE: (usize, usize) = (10, 30);
/// How long sessions may take to be where they should, once chaos has ended.
const TO_SETTLE: Duration = Duration::from_secs(60);

/// What the clients share.
#[derive(Debug)]
pub(super) struct Crowd<'a> {
    ledger: &'a Ledger,
    address: &'a Address,
    marks: &'a Marks,
    interrupted: &'a Arc<AtomicBool>,
    is_settling: Arc<AtomicBool>,
    plans: parking_lot::Mutex<Vec<(Dice, Vec<Customer>)>>,
}

impl<'a> Crowd<'a> {
    /// Clients for the plan's customers.
    pub(super) fn new(
        plan: &Plan,
        dice: &mut Dice,
        ledger: &'a Ledger,
        address: &'a Address,
        marks: &'a Marks,
        interrupted: &'a Arc<AtomicBool>,
    ) -> Self {
        let clients = CLIENTS.min(plan.sessions).max(1);
        let mut plans: Vec<_> = (0..clients).map(|_| (dice.split(), Vec::new())).collect();
        for number in 0..plan.sessions {
            plans[number % clients].1.push(Customer::new(number));
        }
        Self { ledger, address, marks, interrupted, is_settling: Arc::default(), plans: plans.into() }
    }

    /// Starts the clients; each returns its customers once they are settled.
    pub(super) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<ScopedJoinHandle<'scope, Vec<Customer>>> {
        let mut plans = self.plans.lock();
        plans.drain(..).map(|(dice, customers)| scope.spawn(move || self.work(dice, customers))).collect()
    }

    /// Tells the clients to bring every call to its end, and to see that everything answers.
    pub(super) fn settle(&self) {
        self.is_settling.store(true, Ordering::SeqCst);
    }

    fn work(&self, mut dice: Dice, mut customers: Vec<Customer>) -> Vec<Customer> {
        let mut connection = Connection::new(self.address);
        let (mut begun, mut running) = (0, Vec::new());
        while !self.is_settling.load(Ordering::SeqCst) && !self.is_over() {
            // New customers come until all have come; of the others, those with an agent have more to say.
            let index = if begun < customers.len() && dice.percent(40) {
                begun += 1;
                begun - 1
            } else if dice.percent(70)
                && let Some(index) = dice.pick(&running)
            {
                *index
            } else {
                dice.below(begun.max(1))
            };
            customers[index].step(&mut connection, self.ledger, self.marks, &mut dice);
            running.retain(|other| *other != index);
            if matches!(customers[index].known(), Known::Running(_)) {
                running.push(index);
            }
            std::thread::sleep(dice.millis(PAUSE.0, PAUSE.1));
        }
        let deadline = boot_time() + TO_SETTLE;
        for customer in &mut customers {
            if boot_time() > deadline + TO_SETTLE {
                self.ledger.give_up("the server is too slow for its clients to see whether all is well".to_owned());
            }
            while !self.is_over() && !customer.is_settled(&mut connection, self.ledger) {
                if boot_time() > deadline {
                    self.ledger.find(customer.complaint());
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        customers
    }

    fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst) || self.ledger.is_hopeless()
    }
}
