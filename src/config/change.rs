//! What a new configuration changes in a server that runs, and what of it has to wait for a restart. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::keys::{self, KEYS, KeyPath, PERSONA_KEYS, PERSONAS};
use super::{Config, Console, Limits, Log, Page, Shutdown};

/// What may hold secrets, so that its values are told to nobody.
const HIDDEN: [&str; 2] = ["environment", "command"];

/// One key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key, or the persona.
    pub key: String,
    /// How it differs.
    pub what: Difference,
    /// Whether it is in force; else it needs a restart.
    pub in_force: bool,
}

/// How a value differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// It has another value; nothing where it is not set.
    Value {
        /// Before.
        old: Option<String>,
        /// Now, or after a restart.
        new: Option<String>,
    },
    /// It has another value, which may be a secret.
    Hidden,
    /// A persona is new.
    Added,
    /// A persona is gone: nobody gets a session of it, and those that live go on.
    Removed,
}

impl Config {
    /// This configuration with all of `wanted` that can change while a server runs. What is not named here is read once,
    /// at the start.
    #[must_use]
    pub fn taking_over(&self, wanted: &Self) -> Self {
        let wanted = wanted.clone();
        Self {
            hosts: wanted.hosts,
            log: Log { level: wanted.log.level, ..self.log.clone() },
            limits: Limits { data: wanted.limits.data, max_running: wanted.limits.max_running, ..self.limits.clone() },
            throttle: wanted.throttle,
            seed_api: wanted.seed_api,
            cors: wanted.cors,
            console: Console { enabled: self.console.enabled, ..wanted.console },
            page: Page { list_personas: wanted.page.list_personas, ..self.page.clone() },
            history: wanted.history,
            shutdown: Shutdown { readiness_delay: wanted.shutdown.readiness_delay, ..self.shutdown.clone() },
            personas: wanted.personas,
            ..self.clone()
        }
    }

    /// What differs between this configuration and `wanted`, in the order of the documentation.
    pub fn changes(&self, wanted: &Self) -> Vec<Change> {
        // Every part of a configuration is a text, number, list or table, so this cannot fail.
        let table = |config: &Self| Table::try_from(config).unwrap_or_default();
        let (old, new, taken) = (table(self), table(wanted), table(&self.taking_over(wanted)));
        let mut changes = Vec::new();
        for key in KEYS {
            let values = [&old, &new, &taken].map(|table| keys::lookup(table, key.path));
            changes.extend(change(key.path.to_owned(), values));
        }
        let personas = |table: &'_ Table| table.get(PERSONAS).and_then(Value::as_table).cloned().unwrap_or_default();
        let (old, new, taken) = (personas(&old), personas(&new), personas(&taken));
        let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for name in names {
            let path = KeyPath::persona(name);
            let [old, new, taken] = [&old, &new, &taken].map(|personas| personas.get(name).and_then(Value::as_table));
            match (old, new) {
                (Some(old), Some(new)) => changes.extend(PERSONA_KEYS.iter().filter_map(|key| {
                    let values = [Some(old), Some(new), taken].map(|persona| persona?.get(key.path));
                    change(path.child(key.path).to_string(), values)
                })),
                (None, Some(_)) => changes.push(whole(path, Difference::Added, taken.is_some())),
                (Some(_), None) => changes.push(whole(path, Difference::Removed, taken.is_none())),
                (None, None) => {}
            }
        }
        changes
    }
}

fn change(key: String, [old, new, taken]: [Option<&Value>; 3]) -> Option<Change> {
    let is_hidden = HIDDEN.iter().any(|hidden| key.ends_with(&format!(".{hidden}")));
    let text = |value: Option<&Value>| value.map(ToString::to_string);
    let what = if is_hidden { Difference::Hidden } else { Difference::Value { old: text(old), new: text(new) } };
    (old != new).then(|| Change { key, what, in_force: taken == new })
}

fn whole(path: KeyPath, what: Difference, in_force: bool) -> Change {
    Change { key: path.to_string(), what, in_force }
}

/// One line without its end: `limits.max_running: 2000 -> 10`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        match &self.what {
            Difference::Value { old, new } => write!(f, "{key}: {} -> {}", shown(old), shown(new)),
            Difference::Hidden => write!(f, "{key}: another value"),
            Difference::Added => write!(f, "{key}: new"),
            Difference::Removed => write!(f, "{key}: gone; its live sessions go on until the next start"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::load;
    use super::*;

    fn config(text: &str) -> Config {
        load(text, &[]).unwrap().config
    }

    fn told(old: &str, new: &str) -> Vec<(String, bool)> {
        let changes = config(old).changes(&config(new));
        changes.iter().map(|change| (change.to_string(), change.in_force)).collect()
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        assert_eq!(told("limits.max_running = 7", "limits.max_running = 7"), []);
        assert_eq!(config("").taking_over(&config("")), Config::default());
    }

    #[test]
    fn what_is_read_once_waits_for_a_restart_and_the_rest_is_in_force() {
        let new = "listen = '127.0.0.1:1'\nlog.level = 'debug'\nlimits = { max_running = 7, body = '2 MiB' }\n\
            tls = { certificate = 'c.pem', key = 'k.pem' }\nhistory.keep = '1d'\n";
        assert_eq!(
            told("", new),
            [
                ("listen: \"127.0.0.1:5500\" -> \"127.0.0.1:1\"".to_owned(), false),
                ("tls.certificate: not set -> \"c.pem\"".to_owned(), false),
                ("tls.key: not set -> \"k.pem\"".to_owned(), false),
                ("log.level: \"info\" -> \"debug\"".to_owned(), true),
                ("limits.body: \"64 MiB\" -> \"2 MiB\"".to_owned(), false),
                ("limits.max_running: 2000 -> 7".to_owned(), true),
                ("history.keep: \"30d\" -> \"1d\"".to_owned(), true),
            ]
        );
    }

    #[test]
    fn nothing_that_waits_for_a_restart_is_taken_over() {
        let (old, new) = (config(""), config("limits = { body = '2 MiB', data = '2 MiB' }\nevents.keep = '1 MiB'"));
        let taken = old.taking_over(&new);
        assert_eq!((taken.limits.body, taken.events.keep), (old.limits.body, old.events.keep));
        assert_eq!(taken.limits.data, new.limits.data);
    }

    #[test]
    fn personas_come_go_and_change_and_what_may_be_a_secret_is_not_told() {
        let old = "[personas.A]\ncommand = ['a', '--key=hunter2']\n[personas.B]\ncommand = ['b']\n";
        let new = "[personas.A]\ncommand = ['a', '--key=hunter3']\nidle_timeout = '5m'\nenvironment = { KEY = 'hunter3' }\n\
            [personas.\"C.D\"]\ncommand = ['c']\n";
        assert_eq!(
            told(old, new),
            [
                ("personas.A.command: another value".to_owned(), true),
                ("personas.A.idle_timeout: \"off\" -> \"5m\"".to_owned(), true),
                ("personas.A.environment: another value".to_owned(), true),
                ("personas.B: gone; its live sessions go on until the next start".to_owned(), true),
                ("personas.\"C.D\": new".to_owned(), true),
            ]
        );
    }
}
