//! Frontdesk: a customer session server. Every customer has exactly one live agent, and no crash leaves a session
//! stuck, doubled, lost or orphaned.
//!
//! The map, in the order in which modules should depend on each other: each on those below it. Cargo does not enforce it.
//!
//! | purpose | module |
//! | --- | --- |
//! | the command line, one command a file | [`cli`] |
//! | finds what keeps a server from running well on this machine, and names the cure | [`doctor`] |
//! | puts a whole desk into one file, and back | [`backup`] |
//! | kills a server of its own at random, and checks its promises | [`torture`] |
//! | a typed client of `/v1`, which repeats calls that are safe to repeat | [`client`] |
//! | builds one server, from its configuration to its end | [`node`] |
//! | connections; routes, access and every status code; operators' commands | [`server`], [`http`], [`control`] |
//! | operators' acts on customers and their sessions, by command or over HTTP | [`customer`] |
//! | makes operators' tokens, by command or over HTTP | [`operator_token`] |
//! | a session's life: the driver that does its IO, the table of drivers | [`session`] |
//! | an agent as the server sees it: starts, takes up, relays, judges its end; a process behind a shim, or a service | [`agent`] |
//! | the process between server and agent, so that the agent outlives the server: its launcher, directory and limits | [`shim`] |
//! | decides about credentials, and slows guessing | [`credential`] |
//! | the server's counters, and its last hour | [`metrics`] |
//! | keeps sessions and customers: a trait, and SQLite behind it | [`store`] |
//! | keeps the steps of sessions and agents' events, with a writer of its own | [`events`] |
//! | input from outside: settings, service addresses, JSON, pickles, HTTP answers | [`config`], [`service_mapping`], [`json`], `frontdesk-pickle`, [`http_client`] |
//! | the data directory, checks of it and around it, and the removal of trees in it | [`data_dir`], [`verify`], `removal` |
//! | the end of tasks; logs; threads of low priority and their turns; open files; the service manager | [`shutdown`], [`telemetry`], `low_priority`, `turns`, [`descriptors`], [`service_manager`] |
//! | time, tokens, points of failure | [`clock`], [`token`], [`failpoint`] |
//! | identities, callers and scopes, phases and the pure machine, records | `frontdesk-model` |
//!
//! Crates of their own are `frontdesk-model`, `frontdesk-pickle`, which reads pickles as data, and `frontdesk-agent`, for authors of
//! agents.
//!
//! docs/ARCHITECTURE.md has the map and the invariants, docs/design/ the mechanisms. `session` draws the diagram that
//! everything else serves.

pub use frontdesk_model::{id, principal};

pub mod agent;
pub mod backup;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
pub mod credential;
pub mod customer;
pub mod data_dir;
pub mod descriptors;
pub mod doctor;
pub mod events;
pub mod failpoint;
pub mod http;
pub mod http_client;
pub mod json;
mod low_priority;
pub mod metrics;
pub mod node;
pub mod operator_token;
mod random;
mod removal;
pub mod server;
pub mod service_manager;
pub mod service_mapping;
pub mod session;
pub mod shim;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod torture;
mod turns;
pub mod verify;
