//! One test binary: the store's contract, and the real binary with real agents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(unreachable_pub, reason = "modules of one test binary are each other's public")]

mod access;
mod adoption;
mod agent_check;
mod agent_faults;
mod agent_life;
mod agent_limits;
mod agent_page;
mod answer_parts;
mod api_page;
mod backup;
#[cfg(feature = "failpoints")]
mod ballast_sweep;
mod bodies;
mod browser;
mod client;
mod command_line;
mod connections;
mod console;
mod cors;
#[cfg(feature = "failpoints")]
mod crash_sweep;
mod credential_server;
mod credential_stub;
mod customers_page;
mod damage;
mod desk;
mod doctor;
mod drain;
mod events_outlive;
mod examples;
mod failed_task;
mod first_session;
mod full_disk;
mod full_pipe;
mod generated_client;
mod given_up;
mod harness;
mod http_agents;
mod isolation;
mod kept_logs;
mod keyed_requests;
mod kill;
#[cfg(feature = "failpoints")]
mod late_shim;
mod listening;
mod logging;
mod memory;
mod metrics;
mod network;
mod openapi_contract;
mod operators;
mod passwords;
mod permission;
mod proxies;
mod reasons;
mod recovery;
mod refusals;
mod relay;
mod reload;
mod removal;
mod same_customer;
mod secrets_in_logs;
mod security_page;
mod seed_creation;
mod seed_initialise;
mod seed_relay;
mod seed_status;
mod sequence;
mod session_cookie;
mod shim;
#[cfg(feature = "failpoints")]
mod shim_sweep;
mod stopped_server;
#[cfg(feature = "failpoints")]
mod stopped_start;
mod store_contract;
mod stream;
mod throttling;
mod tidy;
mod tokenless;
mod torture;
mod units;
mod v1_console;
mod v1_customers;
mod v1_operators;
mod v1_overview;
mod v1_password;
mod v1_restart;
mod v1_sessions;
mod v1_streams;
mod v1_throttled;
mod v1_tokens;
mod vanished_clients;
mod verify;
mod wiped_passwords;
mod wire;
