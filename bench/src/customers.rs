//! A server with customers of its own, who may be signed in for the first time, and then create sessions.

use std::ops::Range;

use crate::calls::{Creations, PERSONA, create_all, email};
use crate::client::{Client, PASSWORD, in_parallel};
use crate::desk::{Desk, persona};
use crate::load::{Load, Outcome, run};
use crate::process::wait_until_idle;
use crate::{Setting, note};

/// The server. Nobody has a session between the measurements.
pub struct Customers {
    pub desk: Desk,
    count: u64,
    /// Customers below have signed in and are remembered.
    signed_in: u64,
    operator: String,
}

impl Customers {
    /// Adds them through the server's own interface, which hashes each password.
    pub fn prepare(setting: &Setting) -> Self {
        let count = setting.scale.customers;
        note(&format!("adding {count} customers"));
        let configuration = format!(
            "[credential]\ncache = \"1d\"\n\n[throttle]\nenabled = false\n\n{}",
            persona(PERSONA, "frontdesk-bench-agent", "")
        );
        let desk = Desk::embedded(setting, &configuration);
        let operator = desk.operator();
        let numbers: Vec<u64> = (0..count).collect();
        in_parallel(desk.address, &numbers, 8, |client, number| {
            let body = format!("{{\"email\":\"{}\",\"password\":\"{PASSWORD}\"}}", email(*number));
            client.expect("POST", "/v1/customers", &operator, &body);
        });
        Self { desk, count, signed_in: 0, operator }
    }

    /// Signs in some who have never been, by creating their sessions; nothing if fewer are left.
    pub fn sign_in(&mut self, count: u64, connections: usize) -> Option<Outcome> {
        let numbers = self.signed_in..self.signed_in + count;
        if numbers.end > self.count {
            return None;
        }
        let outcome = create_all(self.desk.address, connections, numbers.clone());
        self.signed_in = numbers.end;
        self.stop_all();
        Some(outcome)
    }

    /// Signs in whoever has not been.
    pub fn sign_in_all(&mut self) {
        let left = self.count - self.signed_in;
        if left > 0 {
            note(&format!("signing in {left} customers"));
            self.sign_in(left, 16);
        }
    }

    /// Creates a session for each customer who is remembered, and stops them afterwards.
    pub fn create(&self, connections: usize, rate: Option<f64>) -> Outcome {
        let load = Load { rate, ..Load::all(self.desk.address, connections) };
        let (outcome, _) = run(&load, Creations::split(self.remembered(), false));
        self.stop_all();
        outcome
    }

    /// Who is remembered.
    pub fn remembered(&self) -> Range<u64> {
        0..self.signed_in
    }

    /// Ends every session.
    pub fn stop_all(&self) {
        let mut client = Client::new(self.desk.address);
        while client.expect("POST", "/v1/sessions/stop", &self.operator, "{\"all\":true}").contains("\"more\":true") {}
        let path = "/v1/sessions?phase=PENDING&limit=1";
        while client.expect("GET", path, &self.operator, "").contains("\"phase\":") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // What is told of the stops, to the log and to the log of events, is no part of the next turn.
        wait_until_idle(self.desk.pid());
    }
}
