//! What can be wrong with a configuration, in sentences that say what to do.
//!
//! All problems of one load are reported at once, except that a file that is not TOML ends the
//! search: everything after it would be a guess. `main` prints the error and exits.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for is not there.
    #[error(
        "the configuration file {} does not exist: correct the path given by --config or \
         FRONTDESK_CONFIG, or leave it out to run with the defaults",
        plain(path)
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },

    /// The file is there but cannot be read.
    #[error(
        "the configuration file {} cannot be read ({reason}): make it a file that the user \
         running Frontdesk may read",
        plain(path)
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },

    /// The file is not text.
    #[error("the configuration file {} is not UTF-8 text: save it as UTF-8", plain(path))]
    NotText {
        /// The file.
        path: PathBuf,
    },

    /// The file is not TOML.
    #[error("{}:{line}:{column}: this is not TOML: {message}", plain(path))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong and what to do about it.
        message: String,
    },

    /// Keys or values are wrong.
    #[error("{0}")]
    Wrong(Problems),
}

/// Everything that is wrong, in the order of the sources; at least one. Displayed one a line.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            problem.fmt(out)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where it was written; `None` if it is nowhere but in the defaults.
    pub origin: Option<Origin>,
    /// What is wrong and what to do about it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(out, "{origin}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}

/// Two or more settings that do not go together.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The keys that could be changed, the likeliest first, as [`super::Origins::get`] takes them.
    pub keys: Vec<String>,
    /// What is wrong and what to do about it.
    pub text: String,
}

/// Where a value was written. Ordered as the sources are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// The line, from 1.
        line: usize,
        /// The file.
        path: PathBuf,
    },
    /// An environment variable.
    Environment(String),
    /// A flag, such as `--listen`.
    CommandLine(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(out, "{}:{line}", plain(path)),
            Self::Environment(name) => out.write_str(name),
            Self::CommandLine(flag) => out.write_str(flag),
        }
    }
}

// "./frontdesk.toml" reads better without its first two characters.
fn plain(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(".").unwrap_or(path).display()
}
