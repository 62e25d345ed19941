//! The table of all keys, and the search for the one that a wrong name was meant to be.
//!
//! Holds names only: types, ranges and defaults are with the section structs. The order here is
//! the order of `frontdesk config show`. Called by the readers of the file and the environment,
//! by the loader and by `show`.

use std::fmt;

use strsim::osa_distance;
use toml::{Table, Value};

/// One key that can be set.
pub(super) struct Key {
    /// Where it stands: `limits.body`, or `command` for a key of every persona.
    pub(super) path: &'static str,
    /// How an environment variable's value is read.
    pub(super) form: Form,
    /// What holds while the key is not set, if it has no default value.
    pub(super) unset: Option<&'static str>,
}

/// How an environment variable's value is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// As it stands, without quotes.
    Text,
    /// As TOML: numbers, `true` and `false`, lists, tables.
    Toml,
}

/// Every key outside of the personas.
pub(super) const KEYS: &[Key] = &[
    text("listen"),
    text("data_dir"),
    optional("service_mapping", Form::Text, "\"./ServiceURLMapping.json\" stands in"),
    toml("hosts"),
    toml("behind_proxy"),
    toml("plain_http"),
    toml("trusted_proxies"),
    text("unix_socket.mode"),
    optional("unix_socket.group", Form::Text, "the server's own group"),
    text("proxy_secret.header"),
    optional("proxy_secret.file", Form::Text, "no proxy has to prove itself"),
    optional("tls.certificate", Form::Text, "connections are not encrypted"),
    optional("tls.key", Form::Text, "connections are not encrypted"),
    text("log.format"),
    text("log.level"),
    text("limits.body"),
    text("limits.bodies"),
    text("limits.bodies_per_address"),
    text("limits.data"),
    toml("limits.connections"),
    toml("limits.connections_per_address"),
    toml("limits.max_running"),
    toml("limits.max_starting"),
    toml("limits.requests_per_session"),
    text("limits.message"),
    text("limits.spool"),
    text("limits.log"),
    text("limits.answers"),
    text("credential.timeout"),
    text("credential.cache"),
    toml("credential.hashing_threads"),
    toml("credential.hashing_queue"),
    toml("throttle.enabled"),
    toml("throttle.per_account_and_address"),
    toml("throttle.per_address"),
    toml("throttle.per_account"),
    toml("throttle.per_proof"),
    optional(
        "seed_api.tokenless_from",
        Form::Toml,
        "loopback only, and nobody if the server listens beyond it, with TLS or behind a proxy",
    ),
    toml("cors.origins"),
    toml("page.enabled"),
    toml("page.list_personas"),
    toml("console.enabled"),
    text("console.idle_timeout"),
    text("console.lifetime"),
    text("events.keep"),
    text("history.keep"),
    text("history.per_customer"),
    text("history.log"),
    text("shutdown.grace"),
    text("shutdown.readiness_delay"),
];

/// Every key of a persona.
pub(super) const PERSONA_KEYS: &[Key] = &[
    text("agent"),
    optional("service", Form::Text, "only a persona with agent = \"http\" has one"),
    toml("command"),
    text("protocol"),
    toml("auto_initialize"),
    text("pending_timeout"),
    text("start_timeout"),
    toml("start_attempts"),
    text("idle_timeout"),
    text("max_lifetime"),
    text("stop_grace"),
    text("request_timeout"),
    text("ping_interval"),
    text("ping_timeout"),
    text("orphan_timeout"),
    toml("environment"),
    toml("inherit_environment"),
    optional("working_directory", Form::Text, "the agent runs where the server runs"),
    toml("own_directory"),
    text("own_directory_quota"),
    optional("user", Form::Text, "the agent runs as the server's own user"),
    text("memory"),
    text("cpu_time"),
    toml("open_files"),
    toml("processes"),
    text("output_rate"),
    optional("line", Form::Text, "`limits.message` holds"),
];

/// The section whose keys are the names of personas.
pub(super) const PERSONAS: &str = "personas";

const fn text(path: &'static str) -> Key {
    Key { path, form: Form::Text, unset: None }
}

const fn toml(path: &'static str) -> Key {
    Key { path, form: Form::Toml, unset: None }
}

const fn optional(path: &'static str, form: Form, unset: &'static str) -> Key {
    Key { path, form, unset: Some(unset) }
}

/// Where a key stands: its names from the outermost table inwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(Vec<String>);

impl KeyPath {
    pub(super) fn new(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub(super) fn persona(name: &str) -> Self {
        Self(vec![PERSONAS.to_owned(), name.to_owned()])
    }

    pub(super) fn child(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }

    /// The persona this path names or lies in.
    pub(super) fn persona_name(&self) -> Option<&str> {
        match self.names().as_slice() {
            [PERSONAS, name, ..] => Some(name),
            _ => None,
        }
    }

    /// Puts a value into the table at this path, replacing what is there.
    pub(super) fn put(&self, root: &mut Table, value: Value) {
        let Some((last, sections)) = self.0.split_last() else {
            return;
        };
        let mut table = root;
        for section in sections {
            let entry = table.entry(section.clone()).or_insert_with(|| Table::new().into());
            // Only keys of the tables above are ever put, so a section never holds a plain value.
            let Some(inner) = entry.as_table_mut() else {
                return;
            };
            table = inner;
        }
        table.insert(last.clone(), value);
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// The dotted path; names that TOML would want in quotes have them.
impl fmt::Display for KeyPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(".")?;
            }
            out.write_str(&quoted_if_needed(name))?;
        }
        Ok(())
    }
}

/// The key at this path.
pub(super) fn find(path: &KeyPath) -> Option<&'static Key> {
    match path.names().as_slice() {
        [PERSONAS, _, name] => PERSONA_KEYS.iter().find(|key| key.path == *name),
        names => KEYS.iter().find(|key| key.path.split('.').eq(names.iter().copied())),
    }
}

/// Whether keys stand below this path.
pub(super) fn is_section(path: &KeyPath) -> bool {
    match path.names().as_slice() {
        [PERSONAS] | [PERSONAS, _] => true,
        [name] => sections().any(|section| section == *name),
        _ => false,
    }
}

/// The value at a dotted path.
pub(super) fn lookup<'a>(root: &'a Table, dotted: &str) -> Option<&'a Value> {
    match dotted.split_once('.') {
        Some((section, rest)) => lookup(root.get(section)?.as_table()?, rest),
        None => root.get(dotted),
    }
}

/// The hint for an unknown key: "did you mean `limits.body`?".
pub(super) fn hint(unknown: &KeyPath) -> String {
    let written = unknown.to_string();
    let persona = unknown.persona_name().unwrap_or("NAME");
    let candidates = KEYS
        .iter()
        .map(|key| key.path.to_owned())
        .chain(sections().chain([PERSONAS]).map(str::to_owned))
        .chain(PERSONA_KEYS.iter().map(|key| KeyPath::persona(persona).child(key.path).to_string()));
    match nearest(&written, candidates, ".") {
        Nearest::Close(name) => format!("did you mean `{name}`?"),
        Nearest::Far(name) => format!("the nearest known key is `{name}`"),
    }
}

/// A known name, by how near it is to the one that was written.
pub(super) enum Nearest {
    /// It was probably meant.
    Close(String),
    /// It is merely nearer than the others.
    Far(String),
}

/// Finds the candidate most like what was written, as a whole or in its last part alone, so that
/// a key in the wrong section is found too.
pub(super) fn nearest(written: &str, candidates: impl IntoIterator<Item = String>, separator: &str) -> Nearest {
    let last = |name: &str| name.rsplit(separator).next().unwrap_or(name).to_lowercase();
    let (written_whole, written_last) = (written.to_lowercase(), last(written));
    let scored = candidates.into_iter().map(|name| {
        let whole = osa_distance(&written_whole, &name.to_lowercase());
        let part = osa_distance(&written_last, &last(&name)) + 1;
        (whole.min(part), whole, name)
    });
    match scored.min() {
        Some((distance, _, name)) if distance <= written_last.len() / 3 + 1 => Nearest::Close(name),
        Some((_, _, name)) => Nearest::Far(name),
        None => Nearest::Far(String::new()),
    }
}

fn sections() -> impl Iterator<Item = &'static str> {
    let with_repeats = KEYS.iter().filter_map(|key| Some(key.path.split_once('.')?.0));
    let mut previous = "";
    with_repeats.filter(move |section| std::mem::replace(&mut previous, section) != *section)
}

/// A name as TOML wants it as a key: bare, or in quotes.
pub(super) fn quoted_if_needed(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        for (unknown, hint_text) in [
            ("limits.max_runing", "did you mean `limits.max_running`?"),
            ("limts", "did you mean `limits`?"),
            ("persona", "did you mean `personas`?"),
            ("lissten", "did you mean `listen`?"),
            ("max_running", "did you mean `limits.max_running`?"),
            ("limits.timeout", "did you mean `credential.timeout`?"),
            ("throttle.per_adress", "did you mean `throttle.per_address`?"),
            ("stop_grace", "did you mean `personas.NAME.stop_grace`?"),
            ("personas.SALES.comand", "did you mean `personas.SALES.command`?"),
            ("wallpaper", "the nearest known key is `page`"),
        ] {
            assert_eq!(hint(&KeyPath::new(unknown)), hint_text, "{unknown}");
        }
    }

    #[test]
    fn a_path_quotes_the_names_that_toml_would_want_quoted() {
        let path = KeyPath::persona("a.b").child("command");
        assert_eq!(path.to_string(), r#"personas."a.b".command"#);
    }

    #[test]
    fn a_quoted_key_with_a_dot_is_not_taken_for_a_path() {
        assert!(find(&KeyPath::default().child("limits.body")).is_none());
        assert!(find(&KeyPath::new("limits.body")).is_some());
    }

    #[test]
    fn every_known_key_is_one_that_the_configuration_reads() {
        let persona = KeyPath::persona("CUSTOMERS");
        let paths =
            KEYS.iter().map(|key| KeyPath::new(key.path)).chain(PERSONA_KEYS.iter().map(|key| persona.child(key.path)));
        for path in paths {
            let mut table = Table::new();
            path.put(&mut table, Value::Float(0.5));
            let error = table.try_into::<super::super::Config>().unwrap_err();
            assert!(error.message().starts_with("must "), "{path}: {error}");
        }
    }
}
