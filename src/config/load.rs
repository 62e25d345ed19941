//! Puts the configuration together: defaults, then the file, then the environment, then flags.
//!
//! Each value is checked by itself first, because only then is it known which one was wrong; the
//! whole is read once all are right. Called by `main`, which passes everything in: nothing but the
//! named file is read here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Table;

use super::error::{ConfigError, Conflict, Origin, Problem, Problems};
use super::file::{self, Layer, Setting};
use super::keys::KeyPath;
use super::listen::Listen;
use super::log::LogFormat;
use super::{Config, DEFAULT_FILE, environment, kinds};

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The file that was asked for with `--config`; it must exist.
    pub file: Option<PathBuf>,
    /// The file that is read otherwise, if it exists. Default [`DEFAULT_FILE`].
    pub default_file: PathBuf,
    /// The environment; everything that does not begin with `FRONTDESK_` is ignored.
    pub environment: Vec<(String, String)>,
    /// What the command line says.
    pub overrides: Overrides,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            file: None,
            default_file: PathBuf::from(DEFAULT_FILE),
            environment: Vec::new(),
            overrides: Overrides::default(),
        }
    }
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<Listen>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--service-mapping`
    pub service_mapping: Option<PathBuf>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
}

/// A configuration with its history.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed but deserves a line in the log.
    pub warnings: Vec<String>,
    /// Where each value that was written comes from.
    pub origins: Origins,
}

/// Where each value that was written comes from; a value that is not here is a default.
#[derive(Debug, Default)]
pub struct Origins(BTreeMap<KeyPath, Origin>);

impl Origins {
    /// Where the value of a key such as `limits.body` or `personas.CUSTOMERS.command` was written.
    ///
    /// The path is as errors and `config show` write it, a persona's name in quotes if it has a
    /// dot.
    pub fn get(&self, key: &str) -> Option<&Origin> {
        let found = self.0.iter().find(|(path, _)| path.to_string() == key);
        found.map(|(_, origin)| origin)
    }

    /// Whether a file or the environment has set anything: flags alone only say where a server is to try itself.
    pub fn is_configured(&self) -> bool {
        self.0.values().any(|origin| match origin {
            Origin::File { .. } | Origin::Environment(_) => true,
            Origin::CommandLine(_) => false,
        })
    }

    pub(super) fn at(&self, path: &KeyPath) -> Option<&Origin> {
        self.0.get(path)
    }
}

impl Config {
    /// Puts the configuration together and checks all of it.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let file = file::read(sources.file.as_deref(), &sources.default_file)?;
        let environment = environment::read(&sources.environment, &file.personas);
        let (mut config, mut origins) = merge(file, environment)?;
        sources.overrides.apply(&mut config, &mut origins);
        match config.check() {
            Ok(warnings) => Ok(Loaded { config, warnings, origins }),
            Err(conflicts) => Err(wrong(conflicts.into_iter().map(|conflict| located(conflict, &origins)).collect())),
        }
    }
}

impl Overrides {
    fn apply(&self, config: &mut Config, origins: &mut Origins) {
        let mut note = |key, flag| {
            origins.0.insert(KeyPath::new(key), Origin::CommandLine(flag));
        };
        if let Some(listen) = &self.listen {
            config.listen.clone_from(listen);
            note("listen", "--listen");
        }
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
            note("data_dir", "--data-dir");
        }
        if let Some(service_mapping) = &self.service_mapping {
            config.service_mapping = Some(service_mapping.clone());
            note("service_mapping", "--service-mapping");
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
            note("log.format", "--log-format");
        }
    }
}

fn merge(file: Layer, environment: Layer) -> Result<(Config, Origins), ConfigError> {
    let mut problems = kinds::misfits(&file, &environment);
    problems.extend(file.problems);
    problems.extend(environment.problems);

    let mut table = Table::new();
    let mut origins = Origins::default();
    for setting in file.settings.into_iter().chain(environment.settings) {
        problems.extend(problem_of(&setting));
        setting.path.put(&mut table, setting.value);
        origins.0.insert(setting.path, setting.origin);
    }
    if !problems.is_empty() {
        return Err(wrong(problems));
    }
    match table.try_into() {
        Ok(config) => Ok((config, origins)),
        Err(error) => Err(wrong(vec![Problem { origin: None, text: error.message().to_owned() }])),
    }
}

// Since every key is optional, a configuration of one value is right unless that value is wrong.
fn problem_of(setting: &Setting) -> Option<Problem> {
    let error = alone(setting).err()?;
    Some(Problem { origin: Some(setting.origin.clone()), text: format!("`{}` {}", setting.path, error.message()) })
}

/// The defaults with one setting.
pub(super) fn alone(setting: &Setting) -> Result<Config, toml::de::Error> {
    let mut table = Table::new();
    setting.path.put(&mut table, setting.value.clone());
    table.try_into()
}

fn located(conflict: Conflict, origins: &Origins) -> Problem {
    let mut places = conflict.keys.iter().filter_map(|key| origins.get(key));
    Problem { origin: places.next().cloned(), text: conflict.text }
}

fn wrong(mut problems: Vec<Problem>) -> ConfigError {
    problems.sort_by(|left, right| left.origin.cmp(&right.origin));
    ConfigError::Wrong(Problems(problems))
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// Loads a file with this text and these variables.
    pub(in crate::config) fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let default_file = directory.path().join("frontdesk.toml");
        fs::write(&default_file, text).unwrap();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Config::load(&Sources {
            default_file,
            environment: environment.iter().map(own).collect(),
            ..Sources::default()
        })
    }

    /// What `load` complains about, with the file's directory left out.
    pub(in crate::config) fn errors(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
        let error = load(text, environment).unwrap_err().to_string();
        let without_directory = |line: &str| match line.split_once("/frontdesk.toml") {
            Some((_, rest)) => format!("frontdesk.toml{rest}"),
            None => line.to_owned(),
        };
        error.lines().map(without_directory).collect()
    }

    fn persona<'a>(loaded: &'a Loaded, name: &str) -> &'a super::super::Persona {
        &loaded.config.personas[name]
    }

    #[test]
    fn without_any_source_the_defaults_hold() {
        let directory = tempfile::tempdir().unwrap();
        let loaded =
            Config::load(&Sources { default_file: directory.path().join("frontdesk.toml"), ..Sources::default() })
                .unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_file_wins_over_the_defaults_the_environment_over_the_file_and_flags_over_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("my.toml");
        fs::write(&file, "listen = '127.0.0.1:1'\ndata_dir = 'file'\nhosts = ['file']\n").unwrap();
        let loaded = Config::load(&Sources {
            file: Some(file.clone()),
            environment: vec![
                ("FRONTDESK_LISTEN".into(), "127.0.0.1:2".into()),
                ("FRONTDESK_DATA_DIR".into(), "environment".into()),
            ],
            overrides: Overrides { listen: Some("127.0.0.1:3".parse().unwrap()), ..Overrides::default() },
            ..Sources::default()
        })
        .unwrap();

        assert_eq!(loaded.config.listen.tcp().map(|address| address.port()), Some(3));
        assert_eq!(loaded.config.data_dir, Path::new("environment"));
        assert_eq!(loaded.config.hosts, ["file"]);
        assert_eq!(loaded.config.history, Config::default().history);
        assert_eq!(loaded.origins.get("listen"), Some(&Origin::CommandLine("--listen")));
        assert_eq!(loaded.origins.get("data_dir"), Some(&Origin::Environment("FRONTDESK_DATA_DIR".into())));
        assert_eq!(loaded.origins.get("hosts"), Some(&Origin::File { path: file, line: 3 }));
        assert_eq!(loaded.origins.get("history.keep"), None);
    }

    #[test]
    fn every_flag_has_an_effect() {
        let directory = tempfile::tempdir().unwrap();
        let loaded = Config::load(&Sources {
            default_file: directory.path().join("frontdesk.toml"),
            overrides: Overrides {
                listen: Some("127.0.0.1:3".parse().unwrap()),
                data_dir: Some("d".into()),
                service_mapping: Some("m".into()),
                log_format: Some(LogFormat::Json),
            },
            ..Sources::default()
        })
        .unwrap();
        assert_eq!(loaded.config.data_dir, Path::new("d"));
        assert_eq!(loaded.config.service_mapping, Some("m".into()));
        assert_eq!(loaded.config.service_mapping_path(), Path::new("m"));
        assert_eq!(loaded.config.log.format, LogFormat::Json);
    }

    #[test]
    fn a_file_asked_for_by_name_must_exist() {
        let error = Config::load(&Sources { file: Some("/nowhere/my.toml".into()), ..Sources::default() });
        assert_eq!(
            error.unwrap_err().to_string(),
            "the configuration file /nowhere/my.toml does not exist: correct the path given by \
             --config or FRONTDESK_CONFIG, or leave it out to run with the defaults"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let error = Config::load(&Sources { file: Some("/".into()), ..Sources::default() });
        assert_eq!(
            error.unwrap_err().to_string(),
            "the configuration file / cannot be read (Is a directory (os error 21)): make it a \
             file that the user running Frontdesk may read"
        );
    }

    #[test]
    fn a_file_that_is_not_text_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("latin1.toml");
        fs::write(&path, b"data_dir = '\xe4'").unwrap();
        let error = Config::load(&Sources { file: Some(path.clone()), ..Sources::default() });
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("the configuration file {} is not UTF-8 text: save it as UTF-8", path.display())
        );
    }

    #[test]
    fn the_default_file_is_named_without_dot_and_slash() {
        let origin = Origin::File { path: DEFAULT_FILE.into(), line: 12 };
        assert_eq!(origin.to_string(), "frontdesk.toml:12");
    }

    #[test]
    fn what_is_not_toml_is_shown_with_line_and_column() {
        const QUOTES: &str = "write texts in quotes (only numbers, `true` and `false` go without)";
        const TWICE: &str = "this name stands in the file twice, remove one of the two";
        for (text, place, message) in [
            ("\ndata_dir = here\n", "2:12", QUOTES),
            ("plain_http = yes", "1:14", QUOTES),
            ("history.keep = 30d", "1:16", QUOTES),
            ("listen = 'a'\nlisten = 'b'", "2:1", TWICE),
            ("[log]\n[limits]\n[log]", "3:2", TWICE),
            ("[log\nlevel = 'x'", "1:5", "unclosed table, expected `]`; correct it here or just before"),
            ("hosts = ['ä', ", "1:14", "unclosed array, expected `]`; correct it here or just before"),
        ] {
            let sentence = format!("frontdesk.toml:{place}: this is not TOML: {message}");
            assert_eq!(errors(text, &[]), [sentence]);
        }
    }

    #[test]
    fn all_unknown_keys_are_reported_at_once_in_the_order_of_their_lines() {
        let text = "lissten = 1\n\n[limts]\nbody = 1\n\n[limits]\nmax_runing = 5\n\n[personas.SALES]\ncommand = ['x']\ncomand = 1\n";
        assert_eq!(
            errors(text, &[]),
            [
                "frontdesk.toml:1: unknown key `lissten`; did you mean `listen`?",
                "frontdesk.toml:3: unknown key `limts`; did you mean `limits`?",
                "frontdesk.toml:7: unknown key `limits.max_runing`; did you mean `limits.max_running`?",
                "frontdesk.toml:11: unknown key `personas.SALES.comand`; did you mean `personas.SALES.command`?",
            ]
        );
    }

    #[test]
    fn problems_of_the_file_and_the_environment_are_reported_together() {
        assert_eq!(
            errors("hots = []", &[("FRONTDESK_PLAIN_HTTP", "maybe")]),
            [
                "frontdesk.toml:1: unknown key `hots`; did you mean `hosts`?",
                "FRONTDESK_PLAIN_HTTP: `plain_http` must be `true` or `false`, not \"maybe\"",
            ]
        );
    }

    #[test]
    fn a_wrong_value_says_what_is_expected() {
        const DURATION: &str = r#"such as "200ms", "30s", "10m", "1h 30m" or "30d""#;
        const SIZE: &str = r#"a size of at least 1 byte such as "256 MiB", "1 GB" or a plain number of bytes"#;
        for (text, sentence) in [
            (
                "listen = 'localhost'",
                r#"`listen` must be an IP address with a port such as "127.0.0.1:5500" or "[::1]:5500", or a Unix socket such as "unix:/run/frontdesk.sock", not "localhost""#.to_owned(),
            ),
            (
                "listen = { port = 1 }",
                r#"`listen` must be an IP address with a port such as "127.0.0.1:5500" or "[::1]:5500", or a Unix socket such as "unix:/run/frontdesk.sock", not a table"#.to_owned(),
            ),
            (
                "data_dir = ''",
                r#"`data_dir` must be a path such as "./data", not """#.to_owned(),
            ),
            (
                "hosts = ['http://x']",
                r#"`hosts` must be a list of host names without scheme and port such as ["desk.example.org"], not ["http://x"]"#.to_owned(),
            ),
            (
                "behind_proxy = 'yes'",
                r#"`behind_proxy` must be `true` or `false`, not "yes""#.to_owned(),
            ),
            (
                "log.format = 'xml'",
                r#"`log.format` must be "text" or "json", not "xml""#.to_owned(),
            ),
            (
                "log.level = 3",
                "`log.level` must be a text that is not empty, not 3".to_owned(),
            ),
            ("limits.body = '5 parsecs'", format!("`limits.body` must be {SIZE}, not \"5 parsecs\"")),
            ("limits.body = 0", format!("`limits.body` must be {SIZE}, not 0")),
            (
                "limits.connections = '10'",
                r#"`limits.connections` must be a whole number from 1 to 1000000, not "10""#.to_owned(),
            ),
            (
                "limits.connections = 99999999999999999999",
                "`limits.connections` has a number that is too large: write a smaller one".to_owned(),
            ),
            (
                "credential.timeout = '5 parsecs'",
                format!("`credential.timeout` must be a duration from 1ms to 36500d {DURATION}, not \"5 parsecs\""),
            ),
            (
                "credential.timeout = '0s'",
                format!("`credential.timeout` must be a duration from 1ms to 36500d {DURATION}, not \"0s\""),
            ),
            (
                "credential.timeout = 'off'",
                format!("`credential.timeout` must be a duration from 1ms to 36500d {DURATION}, not \"off\""),
            ),
            (
                "credential.timeout = 30",
                "`credential.timeout` must be a duration with a unit, not the plain number 30: write \"30s\"".to_owned(),
            ),
            (
                "credential.cache = '30'",
                "`credential.cache` must be a duration with a unit, not the plain number 30: write \"30s\"".to_owned(),
            ),
            (
                "credential.cache = false",
                format!("`credential.cache` must be a duration from 1ms to 36500d {DURATION}, or \"off\", not false"),
            ),
            (
                "shutdown.grace = '-1s'",
                format!("`shutdown.grace` must be a duration from 0s to 36500d {DURATION}, not \"-1s\""),
            ),
            (
                "seed_api.tokenless_from = '10.0.0.0/8'",
                r#"`seed_api.tokenless_from` must be a list of networks such as ["127.0.0.0/8", "::1/128"], not "10.0.0.0/8""#.to_owned(),
            ),
            (
                "seed_api.tokenless_from = ['::1/128', '10.0.0.0/33']",
                r#"`seed_api.tokenless_from` must be a list of networks such as ["127.0.0.0/8", "::1/128"], not "10.0.0.0/33""#.to_owned(),
            ),
            (
                "seed_api.tokenless_from = ['10.0.0.1/8']",
                r#"`seed_api.tokenless_from` has the network "10.0.0.1/8": write "10.0.0.0/8""#.to_owned(),
            ),
            (
                "limits.max_starting = 0",
                "`limits.max_starting` must be a whole number from 1 to 10000, not 0".to_owned(),
            ),
            (
                "personas.A.command = []",
                r#"`personas.A.command` must be a list of a program and its arguments such as ["frontdesk", "agent", "echo"], not []"#.to_owned(),
            ),
            (
                "limits = 3",
                "`limits` must be a table: write its keys below a line `[limits]`".to_owned(),
            ),
            (
                "personas.A = 'echo'",
                "`personas.A` must be a table: write its keys below a line `[personas.A]`".to_owned(),
            ),
            (
                "[[personas]]",
                "`personas` must be a table: write its keys below a line `[personas]`".to_owned(),
            ),
            (
                "[personas.'a b']",
                r#"the name of a persona must be 1 to 64 of the characters A-Z a-z 0-9 _ . -, not "a b""#.to_owned(),
            ),
        ] {
            assert_eq!(errors(text, &[]), [format!("frontdesk.toml:1: {sentence}")]);
        }
    }

    #[test]
    fn a_wrong_value_in_a_persona_says_what_is_expected() {
        for (line, sentence) in [
            ("agent = 'shell'", r#"agent` must be "process" or "http", not "shell""#),
            ("protocol = 'grpc'", r#"protocol` must be "json-rpc" or "none", not "grpc""#),
            (
                "memory = 'none'",
                r#"memory` must be a size of at least 1 byte such as "256 MiB", "1 GB" or a plain number of bytes, or "off", not "none""#,
            ),
            ("open_files = 15", r#"open_files` must be a whole number from 16 to 1048576, or "off", not 15"#),
            ("processes = 0", r#"processes` must be a whole number from 1 to 32768, or "off", not 0"#),
            ("cpu_time = 3600", "cpu_time` must be a duration with a unit, not the plain number 3600: write \"3600s\""),
            (
                "user = ''",
                r#"user` must be the name or number of a user such as "agents" or 1001, or a range of numbers such as "200000-265535", not """#,
            ),
            (
                "user = -1",
                r#"user` must be the name or number of a user such as "agents" or 1001, or a range of numbers such as "200000-265535", not -1"#,
            ),
            (
                "user = 'a:b'",
                r#"user` must be the name or number of a user such as "agents" or 1001, or a range of numbers such as "200000-265535", not "a:b""#,
            ),
            ("start_attempts = 0", "start_attempts` must be a whole number from 1 to 100, not 0"),
            ("environment = ['A=b']", r#"environment` must be a table of texts such as { MODE = "test" }"#),
            ("environment = { SECRET = 17 }", "environment` must give SECRET a text: write its value in quotes"),
            (
                "environment = { 'A=B' = 'c' }",
                "environment` has the name \"A=B\", which no environment variable can have: leave it out",
            ),
            (
                "inherit_environment = 'PATH'",
                r#"inherit_environment` must be a list of names of environment variables such as ["PATH", "HOME"], not "PATH""#,
            ),
        ] {
            let text = format!("[personas.A]\ncommand = ['x']\n{line}");
            let expected = format!("frontdesk.toml:3: `personas.A.{sentence}");
            assert_eq!(errors(&text, &[]), [expected]);
        }
    }

    #[test]
    fn a_written_persona_needs_a_command() {
        let missing = |origin: &str, name: &str| {
            format!(
                "{origin}: `personas.{name}.command` is missing: say what starts the agent, such \
                 as [\"frontdesk\", \"agent\", \"echo\"]"
            )
        };
        assert_eq!(errors("\n[personas.CUSTOMERS]", &[]), [missing("frontdesk.toml:2", "CUSTOMERS")]);
        assert_eq!(
            errors("", &[("FRONTDESK_PERSONAS__SALES__START_ATTEMPTS", "1")]),
            [missing("FRONTDESK_PERSONAS__SALES__START_ATTEMPTS", "SALES")]
        );
    }

    #[test]
    fn written_personas_replace_the_built_in_one() {
        let loaded = load("[personas.SALES]\ncommand = ['sell']", &[]).unwrap();
        assert_eq!(loaded.config.personas.len(), 1);
        assert_eq!(persona(&loaded, "SALES").command, ["sell"]);
        assert_eq!(persona(&loaded, "SALES").start_attempts, 3);
    }

    #[test]
    fn an_empty_table_of_personas_leaves_the_built_in_one() {
        assert_eq!(load("[personas]", &[]).unwrap().config, Config::default());
    }

    #[test]
    fn the_environment_can_adjust_the_built_in_persona() {
        let variables = [("FRONTDESK_PERSONAS__CUSTOMERS__START_TIMEOUT", "5s")];
        let loaded = load("", &variables).unwrap();
        let customers = persona(&loaded, "CUSTOMERS");
        assert_eq!(customers.start_timeout, Duration::from_secs(5));
        assert!(customers.runs_this_binary());
    }

    #[test]
    fn a_conflict_is_shown_where_one_of_its_keys_was_written() {
        assert_eq!(
            errors("[limits]\nbody = '2 GiB'", &[]),
            ["frontdesk.toml:2: `limits.bodies` is 1 GiB, less than `limits.body` with 2 GiB: raise \
              `limits.bodies` or lower `limits.body`"]
        );
        let exposed = errors("", &[("FRONTDESK_LISTEN", "0.0.0.0:80")]);
        assert!(exposed[0].starts_with("FRONTDESK_LISTEN: `listen` is 0.0.0.0:80, which"));
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
        let loaded = load("\u{feff}[limits]\r\nbody = '1 MiB'\r\n", &[]).unwrap();
        assert_eq!(loaded.config.limits.body, 1 << 20);
        assert_eq!(
            errors("\u{feff}[log]\r\nx = 1\r\n", &[]),
            ["frontdesk.toml:2: unknown key `log.x`; the nearest known key is `log`"]
        );
    }

    #[test]
    fn warnings_are_handed_on() {
        let loaded = load("listen = '0.0.0.0:80'\nplain_http = true", &[]).unwrap();
        assert_eq!(loaded.warnings.len(), 1);
    }
}
