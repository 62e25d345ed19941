//! The headers by which clients see how much of a limit is left before they are refused
//! (draft-ietf-httpapi-ratelimit-headers): `RateLimit-Policy` has the limits, `RateLimit` what is left of them.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};

use crate::credential::throttle::Quota;

/// Adds both headers; none if there is no limit.
pub fn write(headers: &mut HeaderMap, quotas: &[Quota]) {
    let (mut policies, mut rests) = (String::new(), String::new());
    for Quota { name, limit, window, remaining, full_after } in quotas {
        let comma = if policies.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(policies, "{comma}\"{name}\";q={limit};w={}", seconds(*window));
        let _ = write!(rests, "{comma}\"{name}\";r={remaining};t={}", seconds(*full_after));
    }
    for (header, text) in [("ratelimit-policy", policies), ("ratelimit", rests)] {
        if let Some(value) = HeaderValue::from_str(&text).ok().filter(|value| !value.is_empty()) {
            headers.insert(header, value);
        }
    }
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
    fn without_a_limit_there_is_nothing_to_tell() {
        let mut headers = HeaderMap::new();
        write(&mut headers, &[]);
        assert!(headers.is_empty());
    }
}
