//! A network in CIDR form, such as `10.0.0.0/8`, or one address.
//!
//! IPv4-mapped IPv6 addresses count as IPv4 everywhere, because a socket that listens on both
//! families reports IPv4 callers that way. No host names. Used by the seed API and for trusted
//! proxies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserializer, Serialize, Serializer};
use toml::Value;

use super::value::{read, wrong};

const MAPPED_PREFIX: u8 = 96;

/// A network in CIDR form, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address of the network; never an IPv4-mapped IPv6 address.
    address: IpAddr,
    /// How many leading bits count; 0 to 32 or 128.
    prefix: u8,
}

impl Network {
    /// Whether the address lies in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

/// The error is the network that was probably meant, if there is one.
impl FromStr for Network {
    type Err = Option<Self>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Ok(Self { address, prefix: width(address) });
        }
        let network = parse(text).ok_or(None)?;
        let first = masked(network.address, network.prefix);
        if first != network.address {
            return Err(Some(Self { address: first, ..network }));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.collect_str(self)
    }
}

/// Reads a list of networks.
pub(super) fn list<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Network>, D::Error> {
    read(source, |value| value.as_array().ok_or_else(|| expected(value))?.iter().map(item).collect())
}

fn item(item: &Value) -> Result<Network, String> {
    let text = item.as_str().ok_or_else(|| expected(item))?;
    text.parse().map_err(|hint: Option<Network>| match hint {
        Some(meant) => format!("has the network {text:?}: write \"{meant}\""),
        None => expected(item),
    })
}

fn expected(value: &Value) -> String {
    wrong(r#"a list of networks such as ["127.0.0.0/8", "::1/128"]"#, value)
}

fn parse(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    let written: IpAddr = address.parse().ok()?;
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let prefix: u8 = prefix.parse().ok().filter(|bits| *bits <= width(written))?;
    let canonical = written.to_canonical();
    if canonical == written {
        return Some(Network { address: written, prefix });
    }
    Some(Network { address: canonical, prefix: prefix.checked_sub(MAPPED_PREFIX)? })
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    // A shift by the full width is none in Rust, hence `checked_shl`.
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_under_its_prefix() {
        for (network, address, expected) in [
            ("127.0.0.0/8", "127.255.0.1", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("127.0.0.0/8", "::1", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("10.1.2.128/25", "10.1.2.127", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::1/128", "::1", true),
            ("::1/128", "::2", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("::/0", "::ffff:203.0.113.9", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "11.0.0.0", false),
        ] {
            let parsed: Network = network.parse().unwrap();
            let contains = parsed.contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{address} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "::ffff:10.0.0.0/95"]
        {
            assert_eq!(text.parse::<Network>(), Err(None), "{text}");
        }
    }

    #[test]
    fn what_is_nearly_a_network_names_the_one_that_was_meant() {
        let hint = "10.0.0.1/8".parse::<Network>().unwrap_err().unwrap();
        assert_eq!(hint.to_string(), "10.0.0.0/8");
    }

    #[test]
    fn an_address_is_a_network_of_its_own() {
        for (text, network) in [("10.0.0.1", "10.0.0.1/32"), ("::1", "::1/128"), ("::ffff:10.0.0.1", "10.0.0.1/32")] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), network);
        }
    }
}
