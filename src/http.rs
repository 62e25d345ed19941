//! The HTTP interface: the seed's five endpoints, `/v1`, the operators' console, and what tells of them.
//!
//! ```text
//! connection (server) ──> router ──> access ──> seed, v1, console ──> credential, session, store, events
//! ```
//!
//! [`routes`] is the table of all calls: who may make each, and what it looks like from outside.
//! Handlers read and check a request, ask the domain, and answer; they hold no work half done, so that a client that
//! hangs up leaves nothing behind but the check of its password, which ends by itself. Status codes are
//! decided in [`code`] alone.

use std::sync::Arc;

use arc_swap::Guard;

use crate::clock::{Clock, Timestamp, WallTime};
use crate::config::{Config, InForce, Listen};
use crate::credential::Verifiers;
use crate::credential::embedded::Embedded;
use crate::credential::gate::Gate;
use crate::data_dir::DataPaths;
use crate::events::EventLog;
use crate::metrics::{Metrics, Sampler};
use crate::session::Registry;
use crate::shutdown::Tasks;
use crate::store::Store;

pub mod access;
mod asset;
pub mod at_once;
pub mod audit;
pub mod auth;
pub mod body;
pub mod call;
pub mod caller;
pub mod code;
mod console;
pub mod cookie;
mod cors;
pub mod creation;
mod docs;
pub mod error;
pub mod forwarded;
pub mod head;
pub mod health;
pub mod input;
mod local_user;
mod metrics;
pub mod openapi;
pub mod operation;
mod page;
pub mod rate_limit;
pub mod route_class;
pub mod router;
pub mod routes;
mod seed;
pub mod server_timing;
mod session_cookie;
pub mod v1;

use at_once::AtOnce;
use audit::{Refused, SignIns};
use body::Bodies;

/// What every handler may use.
pub struct App {
    /// The configuration in force.
    pub settings: InForce,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Where sessions are kept.
    pub store: Arc<dyn Store>,
    /// What agents have said.
    pub events: EventLog,
    /// The sessions of this node.
    pub registry: Registry,
    /// Where the server's files are.
    pub paths: DataPaths,
    /// Who decides about credentials.
    pub verifiers: Verifiers,
    /// The accounts of the embedded credential server.
    pub embedded: Arc<Embedded>,
    /// Slows guessing.
    pub gate: Arc<Gate>,
    /// Refusals on their way into the audit.
    pub refused: Refused,
    /// The sign-ins of the last minute, which the audit notes once.
    pub sign_ins: SignIns,
    /// The memory of all bodies in flight.
    pub bodies: Bodies,
    /// The uploads of sessions' data.
    pub uploads: AtOnce,
    /// Streams of events and logs.
    pub streams: AtOnce,
    /// What the server counts of itself.
    pub metrics: Arc<Metrics>,
    /// The last hour of it.
    pub sampler: Sampler,
    /// Tells whether the server is shutting down.
    pub tasks: Tasks,
    /// Where and since when the server is there.
    pub presence: Presence,
}

impl App {
    /// The configuration in force at this moment.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.settings.get()
    }
}

/// Where and since when a server is there.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Where it listens.
    pub address: Listen,
    /// Whether a service manager keeps the socket while the server restarts.
    pub is_kept_by_manager: bool,
    /// When it was started.
    pub started: WallTime,
    /// The same on the desk's own timeline.
    pub since: Timestamp,
}
