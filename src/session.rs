//! A session: one customer's use of one agent, from the request to its end.
//!
//! ```text
//!            request              initialise              agent ready
//!  (idle) ------------> PENDING -------------> STARTING ---------------> RUNNING
//!                         ^                     |  |  ^                    |  |
//!                         +---------------------+  |  +--------------------+  |
//!                          start failed, may retry |    agent or host lost,   | stop, idle, lifetime,
//!                                                  |    restart asked for     | agent finished
//!            stop, expired                   stop, v gave up                  v
//!    PENDING -------------------------------> STOPPING ------------------> ENDED
//!                                 outcome: completed | failed | stopped | expired, with a reason
//! ```
//!
//! [`phase`] has the phases, [`machine`] says which step follows which, as a pure function, and [`census`] counts sessions
//! by phase. [`trouble`] judges what is wrong with one. [`record`] is what the store keeps, [`reason`] why something
//! ended. [`sequence`] is what happened, step by step, with what agents said of themselves. A `driver` owns one session at a time and does the IO that the machine asks for; the [`registry`] finds or starts
//! drivers. When a server stops, drivers end and sessions stay in their phases, their agents running; the next server's
//! registry gives each a driver again, with the agent if it lives.
//!
//! What holds here:
//! - No phase without an owner, a deadline and an exit. A pending session has no task: its deadline stands in the
//!   store's ordered index, and whoever acts on it claims it through the registry first.
//! - A step is stored before anybody sees it or acts on it. A crash after the commit loses effects only, and the
//!   next driver derives them again from the record.
//! - An agent is started only under an epoch that was stored before, and only when nothing of an older one is left. One
//!   that lives under its session's epoch is taken up and not started.

pub use frontdesk_model::{census, machine, phase, reason, record, trouble};

mod counted;
mod driver;
mod new_session;
pub mod registry;
pub mod sequence;

pub use census::Census;
pub use driver::CommandError;
pub use machine::Limits;
pub use new_session::NewSession;
pub use phase::{Ending, Outcome, Phase, PhaseName, Start};
pub use reason::Reason;
pub use record::{CreationKey, SessionData, SessionRecord};
pub use registry::{InitialiseError, Initialised, Part, Parts, RELAY_OUTCOMES, Registry, RelayError};
pub use sequence::Sequences;
pub use trouble::{Trouble, TroubleKind};
