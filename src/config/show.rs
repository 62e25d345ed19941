//! The effective configuration as TOML, each written value with the place it comes from.
//!
//! What is shown can be saved and loaded again and gives the same configuration. Nothing is
//! hidden: an agent's `environment` may hold secrets, and they are in it. Called by `frontdesk
//! config show`.

use std::fmt::Write;

use toml::{Table, Value};

use super::keys::{KEYS, Key, KeyPath, PERSONA_KEYS, PERSONAS};
use super::kinds;
use super::load::Loaded;

impl Loaded {
    /// The configuration as TOML, in the order of the documentation.
    pub fn to_toml(&self) -> String {
        // Every part of a configuration is a text, number, list or table, so this cannot fail.
        let table = Table::try_from(&self.config).unwrap_or_default();
        let mut page = Page { loaded: self, text: "# Values without a comment are defaults.\n\n".to_owned() };
        page.sections(&table);
        page.personas(&table);
        page.text
    }
}

struct Page<'a> {
    loaded: &'a Loaded,
    text: String,
}

impl Page<'_> {
    fn sections(&mut self, table: &Table) {
        let mut current = "";
        for key in KEYS {
            let (section, name) = key.path.split_once('.').unwrap_or(("", key.path));
            if section != current {
                self.line(format_args!("\n[{section}]"));
                current = section;
            }
            let value = super::keys::lookup(table, key.path);
            self.key(key, name, &KeyPath::new(key.path), value);
        }
    }

    fn personas(&mut self, table: &Table) {
        let Some(personas) = table.get(PERSONAS).and_then(Value::as_table) else {
            return;
        };
        for (name, persona) in personas {
            let path = KeyPath::persona(name);
            self.line(format_args!("\n[{path}]"));
            let kind = persona.get("agent").and_then(Value::as_str).unwrap_or_default();
            for key in PERSONA_KEYS.iter().filter(|key| kinds::knows(kind, key.path)) {
                self.key(key, key.path, &path.child(key.path), persona.get(key.path));
            }
        }
    }

    fn key(&mut self, key: &Key, name: &str, path: &KeyPath, value: Option<&Value>) {
        let unset = key.unset.unwrap_or_default();
        match (value, self.loaded.origins.at(path)) {
            (Some(value), Some(origin)) => {
                let origin = origin.to_string().replace(char::is_control, "?");
                self.line(format_args!("{name} = {value} # {origin}"));
            }
            (Some(value), None) => self.line(format_args!("{name} = {value}")),
            (None, _) => self.line(format_args!("# {name} is not set: {unset}")),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::load;

    const EVERYTHING: &str = r#"
        listen = "[::]:80"
        data_dir = 'C:\data "x"'
        service_mapping = "mapping.json"
        hosts = ["a", "b"]
        behind_proxy = true
        log = { format = "json", level = "info,frontdesk=debug" }
        limits = { body = 1001, bodies = "1 TB" }
        credential = { cache = "off", timeout = "1s 5ms" }
        throttle.enabled = false
        seed_api.tokenless_from = ["10.0.0.0/8"]
        shutdown.grace = "0s"

        [personas."a.b"]
        command = ["sh", "-c", "echo '1'\n# \"2\" "]
        protocol = "none"
        idle_timeout = "1h 30m"
        environment = { "A B" = "line\nbreak", C = "" }
        inherit_environment = []
        working_directory = "/tmp"
        user = 1001
        memory = "1 GiB"
        cpu_time = "90s"
        open_files = 64
        processes = 8
        output_rate = 1001
        line = "1 MiB"
        ping_interval = "off"

        [personas.SALES]
        command = ["sell"]
        own_directory = true
        own_directory_quota = "1 GiB"
        [personas.SALES.environment]
        MODE = "test"
    "#;

    #[test]
    fn what_is_shown_loads_as_the_same_configuration() {
        for text in ["", EVERYTHING] {
            let first = load(text, &[]).unwrap();
            let shown = first.to_toml();
            let second = load(&shown, &[]).unwrap();
            assert_eq!(first.config, second.config, "{shown}");
        }
    }

    #[test]
    fn each_written_value_is_shown_with_its_place_and_each_default_without() {
        let variables = [("FRONTDESK_LIMITS__BODY", "1 MiB")];
        let shown = load("[history]\nkeep = '36h'", &variables).unwrap().to_toml();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.contains(&"body = \"1 MiB\" # FRONTDESK_LIMITS__BODY"));
        assert!(lines.contains(&"bodies = \"1 GiB\""));
        let keep = lines.iter().find(|line| line.starts_with("keep = \"1d")).unwrap();
        assert!(keep.starts_with("keep = \"1d 12h\" # /"), "{keep}");
        assert!(keep.ends_with("/frontdesk.toml:2"), "{keep}");
    }

    #[test]
    fn keys_without_a_value_are_shown_as_comments() {
        let shown = load("", &[]).unwrap().to_toml();
        assert!(shown.contains("# service_mapping is not set: \"./ServiceURLMapping.json\" stands in\n"));
    }

    #[test]
    fn the_page_begins_like_this() {
        let shown = load("", &[]).unwrap().to_toml();
        let beginning: Vec<&str> = shown.lines().take(12).collect();
        assert_eq!(
            beginning,
            [
                "# Values without a comment are defaults.",
                "",
                "listen = \"127.0.0.1:5500\"",
                "data_dir = \"./frontdesk-data\"",
                "# service_mapping is not set: \"./ServiceURLMapping.json\" stands in",
                "hosts = []",
                "behind_proxy = false",
                "plain_http = false",
                "trusted_proxies = []",
                "",
                "[unix_socket]",
                "mode = \"0660\"",
            ]
        );
    }
}
