//! What a server says when it is ready: to a person in a new data directory how to go on, to everybody else one line.

use std::fmt::Write;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};

use crate::config::{Listen, PersonaName};
use crate::credential::embedded::CustomerError;
use crate::data_dir;
use crate::node::Node;
use crate::service_mapping::CREDENTIAL_SERVER;
use crate::telemetry;

use super::output;
use super::session::DEFAULT_SERVER;

/// The customer that a new data directory has.
const DEMO_EMAIL: &str = "demo@example.com";

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Greets, and makes the demo customer in a new data directory, unless the server `is_configured`: then somebody sets up
/// customers of their own. A greeting that a crash cut short is given again, with another password.
pub(super) async fn greet(node: &Node, is_configured: bool) -> Result<()> {
    let address = node.address();
    let (store, data) = (&node.app.store, node.data_dir().paths());
    let to_a_person = std::io::stdout().is_terminal();
    let password =
        if !is_configured && wants_demo(node) { Some(demo_customer(node, to_a_person).await?) } else { None };
    // What was logged before stands before it.
    telemetry::flush();
    // A terminal that has gone away is no reason to end the server.
    let is_told = !to_a_person || output::write(&message(node, address, password.as_deref())).is_ok();
    if store.desk().greeting_due
        && is_told
        && let Err(error) = store.greeted().await
    {
        tracing::warn!(error = %error, "the next start will greet like the first one");
    }
    // Whoever reads the message above needs no second one.
    if !(to_a_person && std::io::stderr().is_terminal()) {
        let sessions = store.live_count();
        let config = node.app.config();
        let trusted = config.trusted_personas();
        if !trusted.is_empty() {
            let personas = trusted.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            tracing::info!(
                personas,
                "agents of these personas run as this user and are trusted with all data: set `user` to change that"
            );
        }
        tracing::info!(listen = %address, data = %data.root().display(), sessions, "ready");
        let shared = config.shared_personas();
        if !shared.is_empty() {
            let personas = shared.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            tracing::info!(
                personas,
                "agents of these personas share one user and can reach each other: give `user` a range"
            );
        }
    }
    Ok(())
}

/// A remote credential server would not know the demo customer.
fn wants_demo(node: &Node) -> bool {
    node.app.store.desk().greeting_due && node.mapping.get(CREDENTIAL_SERVER).is_none()
}

/// Makes the demo customer and returns the password, which is in its file already if nobody can be shown it.
async fn demo_customer(node: &Node, to_a_person: bool) -> Result<String> {
    let password = crate::token::readable_secret(&crate::random::bytes());
    let data = node.data_dir().paths();
    let path = data.demo_password();
    if to_a_person {
        // One that an earlier start wrote, and did not come to an end, no longer holds.
        let _ = std::fs::remove_file(&path);
    } else {
        data_dir::write_private(&path, format!("{password}\n").as_bytes())
            .and_then(|()| data_dir::sync_directory(data.root()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let added = match node.embedded.add(DEMO_EMAIL, password.as_str().into()).await {
        Err(CustomerError::Exists { .. }) => node.embedded.set_password(DEMO_EMAIL, password.as_str().into()).await,
        added => added.map(drop),
    };
    added.context("cannot add the demo customer")?;
    if !to_a_person {
        tracing::info!(customer = DEMO_EMAIL, password_file = %path.display(), "demo customer added");
    }
    Ok(password)
}

fn message(node: &Node, address: &Listen, password: Option<&str>) -> String {
    let config = node.app.config();
    let certified = config.tls.files().map(|_| config.hosts.first().map(String::as_str));
    let server = url(address, certified);
    let personas: Vec<_> = config.personas.keys().map(ToString::to_string).collect();
    let mut text = format!("\n{GREEN}Frontdesk is ready{GREEN:#} at {BOLD}{server}{BOLD:#}\n\n");
    let mut fact = |name: &str, value: &str| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {DIM}{name:9}{DIM:#} {value}");
    };
    if config.page.enabled {
        fact("page", &format!("{server}/  (customers sign in here)"));
    }
    if config.console.enabled {
        fact("console", &format!("{server}/console  (operators sign in here)"));
    }
    fact("data", &node.data_dir().paths().root().display().to_string());
    fact("personas", &personas.join(", "));
    match node.app.store.live_count() {
        0 => {}
        1 => fact("sessions", "1 from before goes on"),
        count => fact("sessions", &format!("{count} from before go on")),
    }
    if !config.trusted_personas().is_empty() {
        fact("agents", "trusted: they run as this user and could read this server's data");
    }
    if !config.shared_personas().is_empty() {
        fact("agents", "not kept apart: they share one user and can reach each other; give `user` a range");
    }
    if let Some(password) = password {
        fact("customer", &format!("{DEMO_EMAIL}, password {BOLD}{password}{BOLD:#} (shown once)"));
        let persona = personas.iter().find(|name| *name == PersonaName::BUILT_IN).or(personas.first());
        if config.page.enabled {
            let _ = writeln!(text, "\nTry it in a browser: sign in at {BOLD}{server}/{BOLD:#} as that customer.");
        }
        text.push_str(&commands(&binary(), &server, password, persona.map_or("", String::as_str)));
        if config.console.enabled {
            let make = format!("{} token create me --scope admin", binary());
            let _ = writeln!(text, "\nAn operator's token for the console: {make}");
        }
    }
    if password.is_none() && node.app.store.desk().greeting_due && node.mapping.get(CREDENTIAL_SERVER).is_none() {
        let _ = writeln!(text, "\nAdd your first customer: {} customer add EMAIL", binary());
    }
    let _ = writeln!(text, "\n{DIM}Ctrl-C stops the server and its agents.{DIM:#}\n");
    text
}

/// Three commands that take a new user from nothing to an agent's answer.
fn commands(binary: &str, server: &str, password: &str, persona: &str) -> String {
    let at = if server == DEFAULT_SERVER { String::new() } else { format!("export FRONTDESK_SERVER={server}\n  ") };
    let persona =
        if persona == PersonaName::BUILT_IN { String::new() } else { format!(" --persona {}", quoted(persona)) };
    format!(
        r#"
Try it in another terminal: ask for a session, start its agent, ask it something.

  {BOLD}{at}export FRONTDESK_TOKEN=$(echo {password} | \
    {binary} session request {DEMO_EMAIL} \
    --password-stdin --token-only{persona}){BOLD:#}

  {BOLD}{binary} session initialize {DEMO_EMAIL}{BOLD:#}

  {BOLD}{binary} session send {DEMO_EMAIL} '{{"say": "hello"}}'{BOLD:#}
"#
    )
}

/// Where the server is. With TLS, `certified` is the name that its certificate is probably good for, if one is known.
fn url(address: &Listen, certified: Option<Option<&str>>) -> String {
    let address = match address {
        Listen::Tcp(address) => *address,
        Listen::Unix(_) => return address.to_string(),
    };
    match certified {
        None => format!("http://{}", reachable(address)),
        Some(None) => format!("https://{}", reachable(address)),
        Some(Some(name)) => format!("https://{name}:{}", address.port()),
    }
}

/// An address to which a client can connect: the one that stands for all of them is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(loopback, address.port())
}

/// This program as another terminal can call it, whatever its directory: by name if the shell found it by name, else
/// by its whole path, from the home directory on if it is there.
fn binary() -> String {
    let called = std::env::args().next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(path) if called.contains('/') => in_shell(&path, std::env::home_dir().as_deref()),
        Ok(_) | Err(_) => "frontdesk".to_owned(),
    }
}

fn in_shell(path: &Path, home: Option<&Path>) -> String {
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) if home != Some(Path::new("/")) => format!("~/{}", quoted(&rest.display().to_string())),
        Some(_) | None => quoted(&path.display().to_string()),
    }
}

fn quoted(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_named_so_that_every_shell_finds_it() {
        let home = Some(Path::new("/home/ada"));
        assert_eq!(in_shell(Path::new("/home/ada/bin/frontdesk"), home), "~/bin/frontdesk");
        assert_eq!(in_shell(Path::new("/home/ada/my bin/frontdesk"), home), "~/'my bin/frontdesk'");
        assert_eq!(in_shell(Path::new("/opt/it's/frontdesk"), home), r"'/opt/it'\''s/frontdesk'");
        assert_eq!(in_shell(Path::new("/opt/frontdesk"), Some(Path::new("/"))), "/opt/frontdesk");
    }

    #[test]
    fn the_address_that_is_shown_can_be_connected_to() {
        for (listening, shown) in
            [("0.0.0.0:5500", "127.0.0.1:5500"), ("[::]:80", "[::1]:80"), ("192.168.0.1:1", "192.168.0.1:1")]
        {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn with_tls_the_server_is_shown_by_the_name_that_its_certificate_has() {
        let address = &"127.0.0.1:5500".parse().unwrap();
        assert_eq!(url(address, None), DEFAULT_SERVER);
        assert_eq!(url(address, Some(None)), "https://127.0.0.1:5500");
        assert_eq!(url(address, Some(Some("desk.example.org"))), "https://desk.example.org:5500");
    }

    #[test]
    fn only_what_is_not_usual_is_added_to_the_commands() {
        let usual = commands("frontdesk", DEFAULT_SERVER, "secret", "CUSTOMERS");
        assert!(!usual.contains("FRONTDESK_SERVER") && !usual.contains("--persona"), "{usual}");
        let unusual = commands("frontdesk", "http://127.0.0.1:1", "secret", "after sales");
        assert!(unusual.contains("export FRONTDESK_SERVER=http://127.0.0.1:1\n"), "{unusual}");
        assert!(unusual.contains(" --persona 'after sales'"), "{unusual}");
    }
}
