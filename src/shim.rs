//! The shim: the small process that is an agent's parent, so that the agent outlives the server.
//!
//! ```text
//!             launcher ──fork──┐
//!   server ──order + socket──> shim ──fork, exec──> agent
//!     └── frames over the socket ─┘ └── stdin, stdout, stderr ──┘
//! ```
//!
//! A server has one [`launcher`]: a process with a single thread and a handful of descriptors, which forks shims ahead of
//! the orders that they take. A fork of that costs a fraction of what starting the binary anew costs, and the server itself
//! never forks. A shim leads a session (`setsid(2)`) of its own, is the subreaper of everything that its agent starts, and
//! lives exactly as long as its agent does: an agent whose shim is killed is killed by its parent-death signal.
//!
//! | what | module |
//! | --- | --- |
//! | what server and shim say to each other | [`wire`] |
//! | what a shim is told to start | [`order`] |
//! | the directory of a session with an agent: lock, epoch, socket, spool, log, end | [`place`] |
//! | how the server orders a start; who forks | [`launch`], [`launcher`], `fork` |
//! | shims that wait for an order, and how many | `spare`, `spares` |
//! | a shim from its order to its end; what its loop waits for; what follows from that | `run`, `serve`, `settle` |
//! | how a forked child becomes the agent, and what the shim has of it | `stage`, `agent` |
//! | connections, before and after they have shown the secret; frames out of bytes | `visitor`, `connection`, `frames` |
//! | what goes to the agent, and what comes | `input`, `line`; `output`, `spool`, `log` |
//! | when it has to end, and the end of its tree | `ending`, `tree` |
//! | as whom an agent runs; what is closed to it | [`user`], `hardening` |
//! | what an agent may take: per process, over its tree, by the kernel's groups, and of output | [`limits`], [`watch`], [`cgroup`], [`rate`] |
//! | what an agent takes, out of `/proc` | [`usage`], [`proc`] |
//! | which processes are an agent's, also when its shim is gone | `lineage`, `process_table` |
//!
//! The launcher ends with its server, and with it the shims that have no order. Each of the others goes on alone, listens
//! in the session's directory for the next server, and ends its agent if none comes for `orphan_timeout`.
//!
//! Nothing here knows a session's phases or the agent's protocol: to a shim, what an agent writes is bytes.
//!
//! What holds here:
//! - A shim starts nothing before it holds the directory's lock and has read its own epoch there.
//! - What the agent wrote is in the spool before the server sees it, and stays until the server acknowledges it.
//! - A call is handed to the agent at most once, also when servers come and go.
//! - When the agent has ended, its whole tree is ended before anybody is told.

mod agent;
pub mod cgroup;
mod connection;
mod ending;
mod fork;
mod frames;
pub(crate) mod hardening;
mod input;
pub mod launch;
pub mod launcher;
pub mod limits;
mod line;
pub(crate) mod lineage;
mod log;
pub(crate) mod log_file;
mod measure;
pub mod order;
mod output;
pub mod place;
pub mod proc;
pub mod process_table;
pub mod rate;
pub(crate) mod run;
mod serve;
mod settle;
mod signals;
pub(crate) mod spare;
mod spares;
mod spool;
mod stage;
mod tree;
pub mod usage;
pub mod user;
mod visitor;
pub mod watch;
pub mod wire;
