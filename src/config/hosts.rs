//! `hosts`: further names accepted in the `Host` header of calls without a token.
//!
//! Names are kept in lower case because host names have no case. Nothing is resolved.

use std::net::Ipv6Addr;

use serde::Deserializer;

use super::value::{read, texts, wrong};

const EXPECTED: &str = "a list of host names without scheme and port such as [\"desk.example.org\"]";
const LONGEST_NAME: usize = 253;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    read(source, |value| {
        texts(value)
            .filter(|names| names.iter().all(|name| is_host(name)))
            .map(|names| names.iter().map(|name| name.to_ascii_lowercase()).collect())
            .ok_or_else(|| wrong(EXPECTED, value))
    })
}

fn is_host(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_and_addresses_are_accepted() {
        for name in ["desk.example.org", "Desk", "192.0.2.1", "[2001:db8::1]"] {
            assert!(is_host(name), "{name}");
        }
    }

    #[test]
    fn urls_ports_and_blanks_are_refused() {
        for name in ["", "https://desk.example.org", "desk:5500", "a b", "[::1", "[::1]:80"] {
            assert!(!is_host(name), "{name}");
        }
    }
}
