//! The configuration: every setting of the server, its default and its range.
//!
//! A [`Config`] is put together in this order, later ones winning: the defaults below, the
//! configuration file, `FRONTDESK_*` environment variables, command-line flags. [`Config::load`]
//! does that; `main` calls it once at start, and `frontdesk config show` prints its result. All
//! other modules get the section they need as an argument.
//!
//! Nothing here reads the process environment or opens what a path points to: relative paths stay as
//! written and are relative to the working directory. While a server runs, its configuration may be
//! loaded again: `change` says what differs and what of it can be put in force ([`InForce`]).
//!
//! A new key is added in four places, which the tests below hold together: the section's struct,
//! its `Default`, the table in `keys.rs`, and `frontdesk.example.toml`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod change;
mod choice;
mod console;
mod cors;
mod credential;
mod duration;
mod environment;
mod error;
mod events;
mod file;
mod hosts;
mod in_force;
mod keys;
mod kinds;
mod limits;
pub(crate) mod listen;
mod load;
mod log;
mod network;
mod page;
mod persona;
mod proxy_secret;
mod salvage;
mod seed_api;
mod show;
mod size;
mod throttle;
mod tls;
mod unix_socket;
mod value;

pub use change::{Change, Difference};
pub use choice::Choice;
pub use console::Console;
pub use cors::Cors;
pub use credential::Credential;
pub use error::{ConfigError, Conflict, Origin, Problem, Problems};
pub use events::Events;
pub use in_force::InForce;
pub use limits::Limits;
pub use listen::Listen;
pub use load::{Loaded, Origins, Overrides, Sources};
pub use log::{Log, LogFormat};
pub use network::Network;
pub use page::Page;
pub use persona::{AgentKind, Persona, PersonaName, Protocol, RunAs, UidRange};
pub use proxy_secret::ProxySecret;
pub use seed_api::SeedApi;
pub(crate) use size::format as format_size;
pub(crate) use size::roughly as roughly_size;
pub use throttle::Throttle;
pub use tls::Tls;
pub use unix_socket::UnixSocket;

/// The configuration file that is read when none is named, if it exists.
pub const DEFAULT_FILE: &str = "./frontdesk.toml";

/// Stands in for `service_mapping` when that is not set.
pub const DEFAULT_SERVICE_MAPPING: &str = "./ServiceURLMapping.json";

/// The commented example: every key with its default and what it means.
pub const EXAMPLE: &str = include_str!("../frontdesk.example.toml");

/// The whole configuration of one server, every value checked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address or Unix socket to listen on. Default `127.0.0.1:5500`.
    pub listen: Listen,

    /// The directory that holds everything the server stores. Default `./frontdesk-data`.
    #[serde(with = "value::path")]
    pub data_dir: PathBuf,

    /// The service mapping, if the user named one; see [`Config::service_mapping_path`].
    #[serde(with = "value::optional_path", skip_serializing_if = "Option::is_none")]
    pub service_mapping: Option<PathBuf>,

    /// Further names accepted in the `Host` header of calls without a token, in lower case and
    /// without a port. Default none.
    #[serde(deserialize_with = "hosts::deserialize")]
    pub hosts: Vec<String>,

    /// Whether a proxy that speaks TLS stands in front, so that addresses say nothing about customers. Default `false`.
    #[serde(deserialize_with = "value::boolean")]
    pub behind_proxy: bool,

    /// Whether unencrypted traffic from other machines is accepted. Default `false`.
    #[serde(deserialize_with = "value::boolean")]
    pub plain_http: bool,

    /// The proxies whose `Forwarded` or `X-Forwarded-*` headers are believed. Default none.
    #[serde(deserialize_with = "network::list")]
    pub trusted_proxies: Vec<Network>,

    /// `[unix_socket]`: who may connect to the Unix socket that `listen` names.
    pub unix_socket: UnixSocket,
    /// `[proxy_secret]`: a header by which a proxy proves that it is one.
    pub proxy_secret: ProxySecret,
    /// `[tls]`: the certificate with which the server proves who it is.
    pub tls: Tls,
    /// `[log]`: what is logged and how it looks.
    pub log: Log,
    /// `[limits]`: how much the server takes on before it refuses.
    pub limits: Limits,
    /// `[credential]`: checking of customers' credentials.
    pub credential: Credential,
    /// `[throttle]`: how many failed attempts to sign in are let through.
    pub throttle: Throttle,
    /// `[seed_api]`: who may use the seed API without a token.
    pub seed_api: SeedApi,
    /// `[cors]`: the origins whose pages may call `/v1`.
    pub cors: Cors,
    /// `[page]`: the customers' page.
    pub page: Page,
    /// `[console]`: how long an operator stays signed in.
    pub console: Console,
    /// `[events]`: the log of what agents say of themselves.
    pub events: Events,
    /// `[history]`: the record of ended sessions.
    pub history: History,
    /// `[shutdown]`: how the server stops.
    pub shutdown: Shutdown,
    /// `[personas.NAME]`: the kinds of agent. Default: `CUSTOMERS` with the echo agent.
    pub personas: BTreeMap<PersonaName, Persona>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5500)),
            data_dir: PathBuf::from("./frontdesk-data"),
            service_mapping: None,
            hosts: Vec::new(),
            behind_proxy: false,
            plain_http: false,
            trusted_proxies: Vec::new(),
            unix_socket: UnixSocket::default(),
            proxy_secret: ProxySecret::default(),
            tls: Tls::default(),
            log: Log::default(),
            limits: Limits::default(),
            credential: Credential::default(),
            throttle: Throttle::default(),
            seed_api: SeedApi::default(),
            cors: Cors::default(),
            page: Page::default(),
            console: Console::default(),
            events: Events::default(),
            history: History::default(),
            shutdown: Shutdown::default(),
            personas: BTreeMap::from([(PersonaName::built_in(), Persona::default())]),
        }
    }
}

impl Config {
    /// Checks what no single key can tell; returns warnings worth logging at start.
    ///
    /// [`Config::load`] has already called this.
    pub fn check(&self) -> Result<Vec<String>, Vec<Conflict>> {
        let of_personas = self.personas.iter().flat_map(|(name, persona)| persona.conflicts(name, &self.limits));
        let of_listening = [self.exposure_conflict(), self.tls.conflict()].into_iter().flatten();
        let conflicts: Vec<Conflict> = of_listening.chain(self.limits.conflicts()).chain(of_personas).collect();
        if conflicts.is_empty() { Ok(self.exposure_warning().into_iter().collect()) } else { Err(conflicts) }
    }

    /// Where the service mapping is read from, written by the user or not.
    pub fn service_mapping_path(&self) -> &Path {
        self.service_mapping.as_deref().unwrap_or(Path::new(DEFAULT_SERVICE_MAPPING))
    }

    /// The personas whose agents are all of one user, and so can reach each other.
    pub fn shared_personas(&self) -> Vec<&PersonaName> {
        let is_shared = |persona: &Persona| matches!(persona.user, Some(RunAs::One(_)));
        self.personas.iter().filter(|(_, persona)| is_shared(persona)).map(|(name, _)| name).collect()
    }

    /// The personas whose agents are processes of the server's own user, and so can do what it can.
    pub fn trusted_personas(&self) -> Vec<&PersonaName> {
        let personas = self.personas.iter();
        let trusted = personas.filter(|(_, persona)| persona.agent == AgentKind::Process && persona.user.is_none());
        trusted.map(|(name, _)| name).collect()
    }

    /// Whether the server can be reached from this machine only.
    pub fn listens_on_loopback_only(&self) -> bool {
        self.listen.tcp().is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether something stands in front that speaks for clients, so that who connects is not who asks.
    pub fn is_behind_proxy(&self) -> bool {
        self.behind_proxy || !self.trusted_proxies.is_empty() || self.proxy_secret.file.is_some()
    }

    /// Whether a caller at this address may use the seed API without a token.
    ///
    /// `peer` is the address of the connection, never one taken from a header. Whoever comes over a Unix socket has
    /// none, and always needs a token.
    pub fn admits_without_token(&self, peer: IpAddr) -> bool {
        match &self.seed_api.tokenless_from {
            Some(networks) => networks.iter().any(|network| network.contains(peer)),
            None => {
                // Behind a proxy every caller seems to come from this machine.
                self.listens_on_loopback_only()
                    && self.tls.files().is_none()
                    && !self.is_behind_proxy()
                    && peer.to_canonical().is_loopback()
            }
        }
    }

    /// Whether other machines can reach the server, and nothing says that what they send is encrypted.
    fn is_exposed(&self) -> bool {
        !self.listens_on_loopback_only() && self.tls.files().is_none() && !self.behind_proxy
    }

    fn exposure_conflict(&self) -> Option<Conflict> {
        (self.is_exposed() && !self.plain_http).then(|| Conflict {
            keys: vec!["listen".to_owned()],
            text: format!(
                "`listen` is {}, which other machines can reach without encryption: set \
                 `tls.certificate` and `tls.key`, or put a proxy that speaks TLS in front and set \
                 `behind_proxy = true`, or accept unencrypted traffic with `plain_http = true`",
                self.listen
            ),
        })
    }

    fn exposure_warning(&self) -> Option<String> {
        (self.is_exposed() && self.plain_http).then(|| {
            format!(
                "`plain_http` is on and `listen` is {}: passwords and tokens cross the network \
                 unencrypted; to end this, set `tls.certificate` and `tls.key`, or put a proxy that \
                 speaks TLS in front and set `behind_proxy = true`",
                self.listen
            )
        })
    }
}

/// `[history]`: the record of ended sessions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// How long an ended session stays on record; 1ms to 36500d. Default 30 days.
    #[serde(with = "duration::positive")]
    pub keep: Duration,
    /// Bytes that are kept of one customer's ended sessions, with their events and answers; at least 1. The newest one
    /// stays whatever its size. Default 64 MiB.
    #[serde(with = "size")]
    pub per_customer: u64,
    /// Bytes of the end of its agent's log that stay with a session that failed; at least 1, and of more than 1 MiB only
    /// that. `None` keeps nothing. Default 128 KiB.
    #[serde(with = "size::or_off")]
    pub log: Option<u64>,
}

impl Default for History {
    fn default() -> Self {
        Self { keep: Duration::from_hours(30 * 24), per_customer: 64 << 20, log: Some(128 << 10) }
    }
}

/// `[shutdown]`: how the server stops.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Time for open requests and agents to finish at a stop; 0s (none) to 36500d. Default 20
    /// seconds.
    #[serde(with = "duration::or_zero")]
    pub grace: Duration,

    /// How long the server goes on as before once it has said that it is not ready, so that load balancers send nobody
    /// to it any more; 0s (none) to 36500d. Not part of `grace`. Default 0 seconds.
    #[serde(with = "duration::or_zero")]
    pub readiness_delay: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(20), readiness_delay: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_on(address: &str) -> Config {
        Config { listen: address.parse().unwrap(), ..Config::default() }
    }

    fn tls() -> Tls {
        Tls { certificate: Some("certificate.pem".into()), key: Some("key.pem".into()) }
    }

    fn may_seed(config: &Config, peer: &str) -> bool {
        config.admits_without_token(peer.parse().unwrap())
    }

    fn without_comments(example: &str) -> String {
        let uncommented = example.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
            _ => line,
        });
        uncommented.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_defaults_pass_the_check_without_a_warning() {
        assert_eq!(Config::default().check(), Ok(Vec::new()));
    }

    #[test]
    fn the_example_as_it_stands_equals_the_defaults() {
        assert_eq!(toml::from_str::<Config>(EXAMPLE).unwrap(), Config::default());
    }

    #[test]
    fn the_example_with_every_key_uncommented_equals_the_defaults() {
        let mut config: Config = toml::from_str(&without_comments(EXAMPLE)).unwrap();
        let customers = config.personas.get_mut("CUSTOMERS").unwrap();

        // These ten have no default of their own, so the example shows a value for each.
        assert_eq!(config.service_mapping.take().unwrap(), Path::new(DEFAULT_SERVICE_MAPPING));
        assert!(config.unix_socket.group.take().is_some());
        assert!(config.proxy_secret.file.take().is_some());
        assert!(config.tls.certificate.take().is_some());
        assert!(config.tls.key.take().is_some());
        assert!(config.seed_api.tokenless_from.take().is_some());
        assert!(customers.working_directory.take().is_some());
        assert!(customers.user.take().is_some());
        assert!(customers.line.take().is_some());
        assert!(customers.service.take().is_some());

        assert_eq!(config, Config::default());
    }

    #[test]
    fn every_known_key_stands_in_the_example() {
        let example: toml::Table = without_comments(EXAMPLE).parse().unwrap();
        for key in keys::KEYS {
            assert!(keys::lookup(&example, key.path).is_some(), "{}", key.path);
        }
        let customers = example["personas"]["CUSTOMERS"].as_table().unwrap();
        for key in keys::PERSONA_KEYS {
            assert!(customers.contains_key(key.path), "{}", key.path);
        }
    }

    #[test]
    fn every_value_of_the_configuration_has_a_known_key() {
        fn leaves(prefix: &keys::KeyPath, table: &toml::Table) {
            for (name, value) in table {
                let path = prefix.child(name);
                if keys::find(&path).is_some() {
                    continue;
                }
                assert!(keys::is_section(&path), "{path} is missing in keys.rs");
                leaves(&path, value.as_table().unwrap());
            }
        }
        leaves(&keys::KeyPath::default(), &toml::Table::try_from(Config::default()).unwrap());
    }

    #[test]
    fn listening_beyond_loopback_names_the_three_cures() {
        let conflicts = listening_on("0.0.0.0:5500").check().unwrap_err();
        assert_eq!(
            conflicts[0].text,
            "`listen` is 0.0.0.0:5500, which other machines can reach without encryption: set \
             `tls.certificate` and `tls.key`, or put a proxy that speaks TLS in front and set \
             `behind_proxy = true`, or accept unencrypted traffic with `plain_http = true`"
        );
    }

    #[test]
    fn listening_beyond_loopback_is_fine_behind_a_proxy() {
        let mut config = listening_on("0.0.0.0:5500");
        config.behind_proxy = true;
        assert_eq!(config.check(), Ok(Vec::new()));
    }

    #[test]
    fn with_tls_listening_beyond_loopback_is_fine_and_plain_http_means_nothing() {
        let mut config = listening_on("0.0.0.0:5500");
        config.tls = tls();
        assert_eq!(config.check(), Ok(Vec::new()));
        config.plain_http = true;
        assert_eq!(config.check(), Ok(Vec::new()));
    }

    #[test]
    fn a_certificate_without_its_key_is_no_tls() {
        let mut config = listening_on("0.0.0.0:5500");
        config.tls = Tls { key: None, ..tls() };
        let texts: Vec<_> = config.check().unwrap_err().into_iter().map(|conflict| conflict.text).collect();
        assert_eq!(texts.len(), 2);
        assert_eq!(texts[1], "`tls.certificate` is set and `tls.key` is not: set both, or neither for no TLS");
    }

    #[test]
    fn plain_http_beyond_loopback_is_a_warning() {
        let mut config = listening_on("[::]:5500");
        config.plain_http = true;
        assert_eq!(
            config.check(),
            Ok(vec![
                "`plain_http` is on and `listen` is [::]:5500: passwords and tokens cross the \
                 network unencrypted; to end this, set `tls.certificate` and `tls.key`, or put a \
                 proxy that speaks TLS in front and set `behind_proxy = true`"
                    .to_owned()
            ])
        );
    }

    #[test]
    fn every_spelling_of_loopback_counts_as_loopback() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(listening_on(address).listens_on_loopback_only(), "{address}");
        }
        assert!(listening_on("unix:/run/frontdesk.sock").listens_on_loopback_only());
        for address in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1"] {
            assert!(!listening_on(address).listens_on_loopback_only(), "{address}");
        }
    }

    #[test]
    fn without_a_list_of_networks_only_loopback_may_seed_without_a_token() {
        let config = Config::default();
        assert!(may_seed(&config, "127.0.0.1"));
        assert!(may_seed(&config, "::1"));
        assert!(may_seed(&config, "::ffff:127.0.0.1"));
        assert!(!may_seed(&config, "192.168.0.1"));
    }

    #[test]
    fn without_a_list_of_networks_nobody_may_seed_without_a_token_on_an_exposed_server() {
        let behind_proxy = Config { behind_proxy: true, ..Config::default() };
        assert!(!may_seed(&behind_proxy, "127.0.0.1"));
        let trusting = Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() };
        assert!(!may_seed(&trusting, "127.0.0.1"));
        let proving = ProxySecret { file: Some("secret".into()), ..ProxySecret::default() };
        assert!(!may_seed(&Config { proxy_secret: proving, ..Config::default() }, "127.0.0.1"));
        assert!(!may_seed(&Config { tls: tls(), ..Config::default() }, "127.0.0.1"));
        assert!(!may_seed(&listening_on("0.0.0.0:5500"), "127.0.0.1"));
    }

    #[test]
    fn a_list_of_networks_replaces_the_rule_about_loopback() {
        let mut config = listening_on("0.0.0.0:5500");
        config.seed_api.tokenless_from = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(may_seed(&config, "10.1.2.3"));
        assert!(!may_seed(&config, "127.0.0.1"));
    }
}
