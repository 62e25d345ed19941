//! Whether the server can listen where it should.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::Finding;

const ABOUT: &str = "listener";

/// `ours` is where a server of this data directory listens.
pub(super) fn check(wanted: SocketAddr, ours: Option<SocketAddr>) -> Vec<Finding> {
    vec![match ours {
        Some(address) if address == wanted => Finding::ok(ABOUT, format!("the server listens on {address}")),
        Some(address) => Finding::note(
            ABOUT,
            format!("the server listens on {address}, and `listen` is {wanted}"),
            "restart it to have it listen there, unless it was told otherwise with --listen",
        ),
        None => free(wanted),
    }]
}

fn free(wanted: SocketAddr) -> Finding {
    let refused = |what: String, cure: &str| Finding::error(ABOUT, what, cure);
    match TcpListener::bind(wanted) {
        Ok(_) => Finding::ok(ABOUT, format!("{wanted} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            refused(format!("{wanted} is taken"), "stop what listens there, or choose another address with `listen`")
        }
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            refused(format!("this machine has no address {}", wanted.ip()), "choose one that it has with `listen`")
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => refused(
            format!("this user may not listen on port {}", wanted.port()),
            "choose one above 1023 with `listen`, and put a proxy in front",
        ),
        Err(error) => {
            refused(format!("nothing can listen on {wanted} ({error})"), "choose another address with `listen`")
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::Level;

    use super::*;

    #[test]
    fn an_address_is_free_ours_or_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(check(address, None)[0].level, Level::Error);
        assert_eq!(check(address, Some(address))[0].level, Level::Ok);
        assert_eq!(check("127.0.0.1:0".parse().unwrap(), Some(address))[0].level, Level::Note);
        drop(taken);
        assert_eq!(check(address, None)[0].level, Level::Ok);
    }

    #[test]
    fn an_address_of_another_machine_is_told_as_such() {
        let found = check("192.0.2.1:5500".parse().unwrap(), None);
        assert!(found[0].sentence.contains("no address 192.0.2.1"), "{found:?}");
    }
}
