//! Reads `FRONTDESK_*` environment variables into settings.
//!
//! A variable is named after its key, in upper case, with `__` between the levels:
//! `FRONTDESK_LIMITS__MAX_RUNNING`. The name of a persona keeps its case, since that counts. The
//! variables are passed in; the process environment is never read here.

use std::collections::BTreeMap;

use toml::Value;

use super::error::Origin;
use super::file::{Layer, Setting};
use super::keys::{Form, KEYS, Key, KeyPath, Nearest, PERSONA_KEYS, nearest};

const PREFIX: &str = "FRONTDESK_";
const PERSONAS: &str = "FRONTDESK_PERSONAS__";

/// Names that mean something else to one of Frontdesk's commands or to an agent.
const RESERVED: [&str; 10] = [
    "FRONTDESK_TOKEN",
    "FRONTDESK_OPERATOR_TOKEN",
    "FRONTDESK_SERVER",
    "FRONTDESK_SESSION",
    "FRONTDESK_EPOCH",
    "FRONTDESK_DESK",
    "FRONTDESK_CONFIG",
    "FRONTDESK_FAILPOINT",
    "FRONTDESK_FAILPOINT_RESUME",
    "FRONTDESK_FAILPOINT_WHEN",
];

/// Reads the variables; `in_file` are the personas that the file names.
pub(super) fn read(variables: &[(String, String)], in_file: &BTreeMap<String, Origin>) -> Layer {
    let mut layer = Layer::default();
    for (name, text) in variables {
        let is_ours = !RESERVED.contains(&name.as_str()) && !is_of_a_kubernetes_service(name, text);
        if name.starts_with(PREFIX) && is_ours {
            variable(&mut layer, name, text, in_file);
        }
    }
    layer
}

// Kubernetes tells every container where each Service of its namespace is, after Docker's links; the Service may be
// called frontdesk. A plain number in FRONTDESK_PORT is none of them but somebody's mistake.
fn is_of_a_kubernetes_service(name: &str, text: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    if rest == "SERVICE_HOST" || rest == "SERVICE_PORT" {
        return true;
    }
    if rest == "PORT" {
        return ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    }
    if let Some(port) = rest.strip_prefix("SERVICE_PORT_") {
        return port.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    }
    let Some((number, rest)) = rest.strip_prefix("PORT_").and_then(|rest| rest.split_once('_')) else { return false };
    let (protocol, what) = rest.split_once('_').unwrap_or((rest, "PORT"));
    number.parse::<u16>().is_ok()
        && matches!(protocol, "TCP" | "UDP" | "SCTP")
        && matches!(what, "PROTO" | "PORT" | "ADDR")
}

fn variable(layer: &mut Layer, name: &str, text: &str, in_file: &BTreeMap<String, Origin>) {
    let origin = Origin::Environment(name.to_owned());
    let Some((path, key)) = find(name, in_file) else {
        layer.reject(origin, unknown(name));
        return;
    };
    if let Some(persona) = path.persona_name()
        && !layer.name_persona(persona, &origin)
    {
        return;
    }
    layer.settings.push(Setting { path, value: value(key.form, text), origin });
}

fn find(name: &str, in_file: &BTreeMap<String, Origin>) -> Option<(KeyPath, &'static Key)> {
    if let Some((persona, last)) = persona_parts(name) {
        let key = PERSONA_KEYS.iter().find(|key| key.path.to_uppercase() == last)?;
        let path = KeyPath::persona(spelling(persona, in_file)).child(key.path);
        return Some((path, key));
    }
    let key = KEYS.iter().find(|key| variable_name(key.path) == name)?;
    Some((KeyPath::new(key.path), key))
}

fn persona_parts(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PERSONAS)?.rsplit_once("__")
}

// Names of variables are upper case by custom, those of personas are not: SALES in a variable
// means the file's persona "sales" if there is no "SALES".
fn spelling<'a>(persona: &'a str, in_file: &'a BTreeMap<String, Origin>) -> &'a str {
    if in_file.contains_key(persona) {
        return persona;
    }
    let mut alike = in_file.keys().filter(|name| name.eq_ignore_ascii_case(persona));
    match (alike.next(), alike.next()) {
        (Some(only), None) => only,
        _ => persona,
    }
}

fn value(form: Form, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    match form {
        Form::Text => as_text(),
        // What is not TOML is left to the key's own check, whose error says what is expected.
        Form::Toml => text.parse().unwrap_or_else(|_| as_text()),
    }
}

// The names are compared without their prefix, which would make all of them look alike.
fn unknown(name: &str) -> String {
    let persona = persona_parts(name).map_or("NAME", |(persona, _)| persona);
    let of_personas = PERSONA_KEYS.iter().map(|key| format!("{PERSONAS}{persona}__{}", key.path.to_uppercase()));
    let candidates = KEYS
        .iter()
        .map(|key| variable_name(key.path))
        .chain(of_personas)
        .chain(RESERVED.map(str::to_owned))
        .map(|name| name[PREFIX.len()..].to_owned());
    let hint = match nearest(&name[PREFIX.len()..], candidates, "__") {
        Nearest::Close(name) => format!("did you mean {PREFIX}{name}?"),
        Nearest::Far(name) => {
            format!("unset it, or use a known one; the nearest is {PREFIX}{name}")
        }
    };
    format!("unknown environment variable; {hint}")
}

fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::tests::{errors, load};
    use super::*;

    #[test]
    fn variables_are_read_as_the_type_of_their_key() {
        let loaded = load(
            "",
            &[
                ("FRONTDESK_LISTEN", "127.0.0.1:1"),
                ("FRONTDESK_DATA_DIR", "1"),
                ("FRONTDESK_HOSTS", "['a', 'b']"),
                ("FRONTDESK_LIMITS__MAX_RUNNING", "10"),
                ("FRONTDESK_LIMITS__BODY", "1024"),
                ("FRONTDESK_LIMITS__MESSAGE", "1 KiB"),
                ("FRONTDESK_THROTTLE__ENABLED", "false"),
                ("FRONTDESK_CREDENTIAL__CACHE", "off"),
                ("FRONTDESK_SEED_API__TOKENLESS_FROM", "[]"),
                ("FRONTDESK_PERSONAS__A__COMMAND", "[\"x\", \"y\"]"),
                ("FRONTDESK_PERSONAS__A__ENVIRONMENT", "{ MODE = 'test' }"),
                ("FRONTDESK_PERSONAS__A__WORKING_DIRECTORY", "/tmp"),
                ("PATH", "not ours"),
            ],
        );
        let config = loaded.unwrap().config;
        assert_eq!(config.listen.to_string(), "127.0.0.1:1");
        assert_eq!(config.data_dir, Path::new("1"));
        assert_eq!(config.hosts, ["a", "b"]);
        assert_eq!(config.limits.max_running, 10);
        assert_eq!(config.limits.body, 1_024);
        assert_eq!(config.limits.message, 1_024);
        assert!(!config.throttle.enabled);
        assert_eq!(config.credential.cache, None);
        assert_eq!(config.seed_api.tokenless_from, Some(Vec::new()));
        assert_eq!(config.personas["A"].command, ["x", "y"]);
        assert_eq!(config.personas["A"].environment["MODE"], "test");
        assert_eq!(config.personas["A"].working_directory.as_deref(), Some(Path::new("/tmp")));
    }

    #[test]
    fn a_variable_of_the_wrong_type_says_what_is_expected() {
        for (name, text, sentence) in [
            (
                "FRONTDESK_LIMITS__MAX_RUNNING",
                "many",
                r#"`limits.max_running` must be a whole number from 1 to 1000000, not "many""#,
            ),
            (
                "FRONTDESK_CREDENTIAL__TIMEOUT",
                "5",
                r#"`credential.timeout` must be a duration with a unit, not the plain number 5: write "5s""#,
            ),
            (
                "FRONTDESK_HOSTS",
                "desk.example.org",
                r#"`hosts` must be a list of host names without scheme and port such as ["desk.example.org"], not "desk.example.org""#,
            ),
        ] {
            assert_eq!(errors("", &[(name, text)]), [format!("{name}: {sentence}")]);
        }
    }

    #[test]
    fn an_unknown_variable_names_the_nearest_known_one() {
        for (name, hint) in [
            ("FRONTDESK_LISTN", "did you mean FRONTDESK_LISTEN?"),
            ("FRONTDESK_TOKE", "did you mean FRONTDESK_TOKEN?"),
            ("FRONTDESK_LIMITS_MAX_RUNNING", "did you mean FRONTDESK_LIMITS__MAX_RUNNING?"),
            ("FRONTDESK_MAX_RUNNING", "did you mean FRONTDESK_LIMITS__MAX_RUNNING?"),
            ("FRONTDESK_PERSONAS__SALES__START_TIME", "did you mean FRONTDESK_PERSONAS__SALES__START_TIMEOUT?"),
            ("FRONTDESK_WALLPAPER_COLOUR", "unset it, or use a known one; the nearest is FRONTDESK_DATA_DIR"),
        ] {
            assert_eq!(errors("", &[(name, "x")]), [format!("{name}: unknown environment variable; {hint}")]);
        }
    }

    #[test]
    fn reserved_names_are_left_alone() {
        let reserved = RESERVED.map(|name| (name, "anything"));
        assert!(load("", &reserved).is_ok());
    }

    #[test]
    fn what_kubernetes_says_about_a_service_called_frontdesk_is_left_alone() {
        for (name, text) in [
            ("FRONTDESK_SERVICE_HOST", "10.0.0.11"),
            ("FRONTDESK_SERVICE_PORT", "5500"),
            ("FRONTDESK_SERVICE_PORT_HTTP", "5500"),
            ("FRONTDESK_SERVICE_PORT_HTTP_ALT", "5501"),
            ("FRONTDESK_PORT", "tcp://10.0.0.11:5500"),
            ("FRONTDESK_PORT_5500_TCP", "tcp://10.0.0.11:5500"),
            ("FRONTDESK_PORT_5500_TCP_PROTO", "tcp"),
            ("FRONTDESK_PORT_5500_TCP_PORT", "5500"),
            ("FRONTDESK_PORT_5500_TCP_ADDR", "10.0.0.11"),
            ("FRONTDESK_PORT_53_UDP_PORT", "53"),
        ] {
            assert!(load("", &[(name, text)]).is_ok(), "{name}");
        }
        for (name, text) in [
            ("FRONTDESK_PORT", "5500"),
            ("FRONTDESK_PORTS", "tcp://10.0.0.11:5500"),
            ("FRONTDESK_PORT_5500", "5500"),
            ("FRONTDESK_PORT_HTTP_TCP", "5500"),
            ("FRONTDESK_PORT_5500_TCP_NAME", "x"),
            ("FRONTDESK_SERVICE_PORTS", "5500"),
            ("FRONTDESK_SERVICE_PORT_", "5500"),
            ("FRONTDESK_SERVICE_PORT__HTTP", "5500"),
            ("FRONTDESK_SERVICE", "x"),
        ] {
            assert!(load("", &[(name, text)]).is_err(), "{name}");
        }
    }

    #[test]
    fn the_name_of_a_persona_is_found_in_the_file_whatever_its_case() {
        let loaded = load("[personas.sales]\ncommand = ['x']", &[("FRONTDESK_PERSONAS__SALES__START_ATTEMPTS", "7")]);
        let personas = loaded.unwrap().config.personas;
        assert_eq!(personas.len(), 1);
        assert_eq!(personas["sales"].start_attempts, 7);
    }

    #[test]
    fn the_exact_name_of_a_persona_comes_first() {
        let loaded = load(
            "[personas.sales]\ncommand = ['x']\n[personas.SALES]\ncommand = ['y']",
            &[("FRONTDESK_PERSONAS__SALES__START_ATTEMPTS", "7")],
        );
        let personas = loaded.unwrap().config.personas;
        assert_eq!(personas["SALES"].start_attempts, 7);
        assert_eq!(personas["sales"].start_attempts, 3);
    }

    #[test]
    fn the_name_of_a_persona_may_hold_two_underscores() {
        let loaded = load("", &[("FRONTDESK_PERSONAS__A__B__COMMAND", "['x']")]);
        assert!(loaded.unwrap().config.personas.contains_key("A__B"));
    }
}
