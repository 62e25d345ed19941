//! `listen`: a TCP address, or a Unix socket written as `unix:/run/frontdesk.sock`.
//!
//! Only the words; `server::listener` opens the socket.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::{read, wrong};

/// What a Unix socket's path has in front.
pub(crate) const UNIX: &str = "unix:";
const EXPECTED: &str = "an IP address with a port such as \"127.0.0.1:5500\" or \"[::1]:5500\", or a Unix socket such \
                        as \"unix:/run/frontdesk.sock\"";

/// The longest name of a socket's file: the kernel takes 107 bytes, of which `/proc/self/fd/N/` takes some.
pub(crate) const LONGEST_SOCKET_NAME: usize = 80;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket with a file.
    Unix(PathBuf),
}

impl Listen {
    /// The IP address and port, unless it is a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// The error says what to write.
impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return tcp(text).map(Self::Tcp).ok_or_else(|| {
                "write an IP address and a port, such as 127.0.0.1:5500 or localhost:5500, or unix:/PATH".to_owned()
            });
        };
        let path = Path::new(path);
        match path.file_name() {
            Some(name) if name.len() <= LONGEST_SOCKET_NAME && !path.as_os_str().as_bytes().contains(&0) => {
                Ok(Self::Unix(path.to_owned()))
            }
            Some(_) => Err(format!("choose a name of at most {LONGEST_SOCKET_NAME} bytes for the Unix socket's file")),
            None => Err("write the path of a file, such as unix:/run/frontdesk.sock".to_owned()),
        }
    }
}

/// An IP address with a port. `localhost` is 127.0.0.1: every other name may mean several addresses, or another one
/// tomorrow.
fn tcp(text: &str) -> Option<SocketAddr> {
    match text.rsplit_once(':') {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => {
            Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().ok()?))
        }
        _ => text.parse().ok(),
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "{UNIX}{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        read(source, |value| value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong(EXPECTED, value)))
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_unix_socket_are_read_as_they_are_shown() {
        for text in ["127.0.0.1:5500", "[::1]:80", "unix:/run/frontdesk.sock", "unix:./frontdesk.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1:1".parse::<Listen>().unwrap().tcp(), Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!("localhost:1".parse::<Listen>().unwrap().to_string(), "127.0.0.1:1");
        assert_eq!("unix:/a".parse::<Listen>().unwrap().tcp(), None);
    }

    #[test]
    fn everything_else_is_refused_with_what_to_write() {
        for (text, cure) in [
            ("5500", "127.0.0.1:5500"),
            ("desk.example.org:8080", "localhost:5500"),
            ("unix:", "unix:/run/frontdesk.sock"),
            ("unix:/", "unix:/run/frontdesk.sock"),
            ("unix:/run/..", "unix:/run/frontdesk.sock"),
        ] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.contains(cure), "{text}: {error}");
        }
        let long = format!("unix:/run/{}", "a".repeat(LONGEST_SOCKET_NAME + 1));
        assert!(long.parse::<Listen>().unwrap_err().contains("80 bytes"));
        assert!(format!("unix:/{}/a", "d".repeat(300)).parse::<Listen>().is_ok());
    }
}
