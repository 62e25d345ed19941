//! Whether the server can listen where it should, and whether an agent could listen there in its place.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::config::{AgentKind, Config, Listen, PersonaName};

use super::Finding;

const ABOUT: &str = "listener";
/// What the kernel starts with.
const USUAL_UNPRIVILEGED_FROM: u16 = 1_024;

/// `ours` is where a server of this data directory listens, and whether a service manager keeps the socket.
pub(super) fn check(config: &Config, ours: Option<(Listen, bool)>) -> Vec<Finding> {
    let is_kept = ours.as_ref().is_some_and(|(_, is_kept)| *is_kept);
    let takers = if is_kept { Vec::new() } else { takers(config, unprivileged_from()) };
    let place = place(&config.listen, ours.map(|(address, _)| address));
    [Some(place), exposure_to_agents(&config.listen, &takers)].into_iter().flatten().collect()
}

fn place(wanted: &Listen, ours: Option<Listen>) -> Finding {
    match ours {
        Some(address) if address == *wanted => Finding::ok(ABOUT, format!("the server listens on {address}")),
        Some(address) => Finding::note(
            ABOUT,
            format!("the server listens on {address}, and `listen` is {wanted}"),
            "restart it to have it listen there, unless it was told otherwise with --listen",
        ),
        None => match wanted {
            Listen::Tcp(address) => free(*address),
            Listen::Unix(path) => free_path(path),
        },
    }
}

/// The personas whose agents could listen in the server's place while it restarts: on a port that is free to everybody
/// all that are processes, elsewhere those that run as the server's user.
fn takers(config: &Config, unprivileged_from: u16) -> Vec<&PersonaName> {
    let is_free_to_all = config.listen.tcp().is_some_and(|address| address.port() >= unprivileged_from);
    let processes = config.personas.iter().filter(|(_, persona)| persona.agent == AgentKind::Process);
    processes.filter(|(_, persona)| is_free_to_all || persona.user.is_none()).map(|(name, _)| name).collect()
}

fn exposure_to_agents(listen: &Listen, takers: &[&PersonaName]) -> Option<Finding> {
    let names = takers.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    (!takers.is_empty()).then(|| {
        Finding::warning(
            ABOUT,
            format!(
                "agents ({names}) could listen on {listen} while the server restarts, and get the passwords that are \
                 sent there meanwhile"
            ),
            "let systemd hold the socket: install contrib/frontdesk.socket beside the service",
        )
    })
}

fn unprivileged_from() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL_UNPRIVILEGED_FROM)
}

fn refused(what: String, cure: &str) -> Finding {
    Finding::error(ABOUT, what, cure)
}

fn free_path(path: &Path) -> Finding {
    let wanted = path.display();
    if UnixStream::connect(path).is_ok() {
        return refused(
            format!("unix:{wanted} is taken"),
            "stop what listens there, or choose another path with `listen`",
        );
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() {
        Finding::ok(ABOUT, format!("unix:{wanted} is free"))
    } else {
        refused(format!("{} is no directory", parent.display()), "make it, or choose another path with `listen`")
    }
}

fn free(wanted: SocketAddr) -> Finding {
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
    use crate::config::RunAs;
    use crate::doctor::Level;

    use super::*;

    fn level(wanted: SocketAddr, ours: Option<SocketAddr>) -> Level {
        place(&Listen::Tcp(wanted), ours.map(Listen::Tcp)).level
    }

    #[test]
    fn an_address_is_free_ours_or_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(level(address, None), Level::Error);
        assert_eq!(level(address, Some(address)), Level::Ok);
        assert_eq!(level("127.0.0.1:0".parse().unwrap(), Some(address)), Level::Note);
        drop(taken);
        assert_eq!(level(address, None), Level::Ok);
    }

    #[test]
    fn an_address_of_another_machine_is_told_as_such() {
        let found = place(&"192.0.2.1:5500".parse().unwrap(), None);
        assert!(found.sentence.contains("no address 192.0.2.1"), "{found:?}");
    }

    #[test]
    fn a_unix_socket_is_free_or_taken_or_has_no_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("frontdesk.sock");
        assert_eq!(free_path(&path).level, Level::Ok);
        let _taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(free_path(&path).level, Level::Error);
        assert_eq!(free_path(&directory.path().join("none/frontdesk.sock")).level, Level::Error);
    }

    #[test]
    fn agents_that_could_take_the_place_are_named_unless_the_service_manager_keeps_it() {
        let mut config = Config::default();
        let names = |config: &Config| takers(config, 1_024).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&config), ["CUSTOMERS"]);
        config.listen = "127.0.0.1:443".parse().unwrap();
        assert_eq!(names(&config), ["CUSTOMERS"]);
        config.personas.values_mut().for_each(|persona| persona.user = Some(RunAs::One("agents".into())));
        assert!(names(&config).is_empty());
        config.listen = "127.0.0.1:5500".parse().unwrap();
        assert_eq!(names(&config), ["CUSTOMERS"]);

        let kept = check(&config, Some((config.listen.clone(), true)));
        assert!(kept.iter().all(|finding| finding.level == Level::Ok), "{kept:?}");
        let exposed = check(&config, Some((config.listen.clone(), false)));
        assert_eq!(exposed[1].level, Level::Warning);
    }
}
