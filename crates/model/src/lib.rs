//! The words of Frontdesk as types: identities, times, and a session's life. Pure: no clock, no runtime, no store.
//!
//! | what | module |
//! | --- | --- |
//! | points in time, on the desk's timeline and on the wall clock | [`time`] |
//! | identities of sessions, customers, epochs and revisions; text that is safe to print | [`id`] |
//! | who calls, and what they may | [`principal`] |
//! | where a session is in its life, and why | [`phase`], [`reason`] |
//! | which step follows which: the pure machine that a driver asks | [`machine`] |
//! | when a lost agent is started again | [`restart`] |
//! | what is stored of a session, and what is counted and judged of many | [`record`], [`census`], [`trouble`] |

pub mod census;
pub mod id;
pub mod machine;
pub mod phase;
pub mod principal;
pub mod reason;
pub mod record;
pub mod restart;
pub mod time;
pub mod trouble;
