//! `[credential]`: checking of customers' credentials.
//!
//! Only the numbers; where accounts live and how passwords are hashed is not configurable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, value};

/// `[credential]`: checking of customers' credentials.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credential {
    /// How long one check may take; 1ms to 36500d. Default 5 seconds.
    #[serde(with = "duration::positive")]
    pub timeout: Duration,
    /// How long a successful check is remembered; 1ms to 36500d, `None` for never. Default 60
    /// seconds.
    #[serde(with = "duration::or_off")]
    pub cache: Option<Duration>,
    /// Threads that hash passwords; 0 to 1024, 0 for one per core. Default 0.
    #[serde(deserialize_with = "value::between::<_, 0, 1_024>")]
    pub hashing_threads: u32,
    /// Checks that may wait for a hashing thread, and new passwords that may wait to be judged; 1 to 1000000. Default
    /// 1024.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub hashing_queue: u32,
}

impl Default for Credential {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            cache: Some(Duration::from_secs(60)),
            hashing_threads: 0,
            hashing_queue: 1_024,
        }
    }
}
