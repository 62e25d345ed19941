//! The headers by which clients see how much of a limit is left before they are refused
//! (draft-ietf-httpapi-ratelimit-headers): `RateLimit-Policy` has the limits, `RateLimit` what is left of them.

use std::io::{self, Write};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::credential::throttle::Quota;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// More than two limits of the longest numbers take; a bound spares the busiest calls allocations.
const MOST_BYTES: usize = 256;

/// Adds both headers; none if there is no limit.
pub fn write(headers: &mut HeaderMap, quotas: &[Quota]) {
    let policy = value(quotas, |text, Quota { limit, window, .. }| write!(text, ";q={limit};w={}", seconds(*window)));
    let left = value(quotas, |text, Quota { remaining, full_after, .. }| {
        write!(text, ";r={remaining};t={}", seconds(*full_after))
    });
    headers.extend(policy.map(|value| (POLICY, value)));
    headers.extend(left.map(|value| (LEFT, value)));
}

/// What is to be said of each limit, behind its name; `None` if there is none.
fn value(quotas: &[Quota], say: impl Fn(&mut &mut [u8], &Quota) -> io::Result<()>) -> Option<HeaderValue> {
    let mut text = [0; MOST_BYTES];
    let mut rest = &mut text[..];
    for (place, quota) in quotas.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        write!(rest, "{comma}\"{}\"", quota.name).ok()?;
        say(&mut rest, quota).ok()?;
    }
    let written = MOST_BYTES - rest.len();
    (written > 0).then(|| HeaderValue::from_bytes(&text[..written]).ok())?
}

/// Rounded up: whoever waits so long has waited long enough.
fn seconds(time: Duration) -> u128 {
    time.as_millis().div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_named_with_what_is_left_of_it() {
        let quota = |name, limit, remaining, millis| Quota {
            name,
            limit,
            window: Duration::from_secs(60),
            remaining,
            full_after: Duration::from_millis(millis),
        };
        let mut headers = HeaderMap::new();
        write(&mut headers, &[quota("account", 10, 3, 41_001), quota("address", 100, 100, 0)]);
        assert_eq!(headers["ratelimit-policy"], r#""account";q=10;w=60, "address";q=100;w=60"#);
        assert_eq!(headers["ratelimit"], r#""account";r=3;t=42, "address";r=100;t=0"#);
    }

    #[test]
    fn the_longest_numbers_have_room() {
        let longest = Duration::from_micros(u64::MAX);
        let quota =
            Quota { name: "account", limit: u32::MAX, window: longest, remaining: u32::MAX, full_after: longest };
        let mut headers = HeaderMap::new();
        write(&mut headers, &[quota, quota]);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_tell() {
        let mut headers = HeaderMap::new();
        write(&mut headers, &[]);
        assert!(headers.is_empty());
    }
}
