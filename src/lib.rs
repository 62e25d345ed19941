//! Frontdesk: a customer session server. Every customer has exactly one live agent, and no crash leaves a session
//! stuck, doubled, lost or orphaned.
//!
//! The map, in the order in which things depend on one another; nothing depends on what stands above it.
//!
//! | what | module |
//! | --- | --- |
//! | the command line, one command a file | [`cli`] |
//! | what keeps a server from running well on this machine, and the cure | [`doctor`] |
//! | a whole desk in one file, and back | [`backup`] |
//! | a server of its own, killed at random to see what its promises are worth | [`torture`] |
//! | a typed client of `/v1`, which sends again what may be sent again | [`client`] |
//! | one server put together, from a configuration to its end | [`node`] |
//! | connections; routes, who may call, and every status code; operators' commands | [`server`], [`http`], [`control`] |
//! | what operators do to customers and their sessions, whichever way they ask | [`customer`] |
//! | operators' tokens as they are made, whichever way somebody asks | [`operator_token`] |
//! | a session's life: a pure machine, the driver that does its IO, the table of drivers | [`session`] |
//! | an agent as the server has it: started or taken up, spoken to, judged by its end; a process behind a shim, or a service | [`agent`] |
//! | the process between server and agent, so that the agent outlives the server: its launcher, its directory, its limits | [`shim`] |
//! | who decides about credentials, and how guessing is slowed | [`credential`] |
//! | what the server counts of itself, and its last hour | [`metrics`] |
//! | where sessions and customers are kept: a trait, and SQLite behind it | [`store`] |
//! | the steps of sessions and what agents say of themselves, stored by a writer of its own | [`events`] |
//! | what comes from outside: settings, service addresses, JSON, pickles, HTTP answers | [`config`], [`service_mapping`], [`json`], `frontdesk-pickle`, [`http_client`] |
//! | the data directory, whether all in it and around it is as it must be, and the removal of trees in it | [`data_dir`], [`verify`], `removal` |
//! | the end of tasks; logs; threads that yield to others, and whose turn it is; how many files may be open; what a service manager is told | [`shutdown`], [`telemetry`], `low_priority`, `turns`, [`descriptors`], [`service_manager`] |
//! | identities, who calls and what they may, time, tokens, points of failure | [`id`], [`principal`], [`clock`], [`token`], [`failpoint`] |
//!
//! Crates of their own are `frontdesk-pickle`, which reads pickles as data, and `frontdesk-agent`, for authors of agents.
//!
//! docs/ARCHITECTURE.md has the map and the invariants, docs/design/ the mechanisms. `session` draws the diagram that
//! everything else serves.

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
pub mod id;
pub mod json;
mod low_priority;
pub mod metrics;
pub mod node;
pub mod operator_token;
pub mod principal;
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
