//! Finds the data directory by a configuration that is not good.
//!
//! A running server can be looked at, drained and stopped whatever has since been written into its file. Where something
//! names a directory and can't be read, none is guessed.

use std::collections::BTreeMap;

use super::file::{self, Layer, Setting};
use super::keys::KeyPath;
use super::load::alone;
use super::{Config, Sources, environment};

impl Config {
    /// The defaults with the data directory that the sources name, whatever else is wrong with them. `None` if what names
    /// it can't be read.
    pub fn salvage(sources: &Sources) -> Option<Self> {
        if let Some(data_dir) = sources.overrides.data_dir.clone() {
            return Some(Self { data_dir, ..Self::default() });
        }
        let of_environment = data_dir(environment::read(&sources.environment, &BTreeMap::new()));
        if let Some(setting) = of_environment {
            return alone(&setting).ok();
        }
        match data_dir(file::salvage(sources.file.as_deref(), &sources.default_file)?) {
            Some(setting) => alone(&setting).ok(),
            None => Some(Self::default()),
        }
    }
}

fn data_dir(layer: Layer) -> Option<Setting> {
    let path = KeyPath::new("data_dir");
    layer.settings.into_iter().find(|setting| setting.path == path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::config::Overrides;

    use super::*;

    /// The data directory by a file with this text, this `FRONTDESK_DATA_DIR` and this `--data-dir`.
    fn found(text: &str, variable: Option<&str>, flag: Option<&str>) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let default_file = directory.path().join("frontdesk.toml");
        fs::write(&default_file, text).unwrap();
        let environment = variable.map(|path| ("FRONTDESK_DATA_DIR".to_owned(), path.to_owned()));
        let sources = Sources {
            default_file,
            environment: environment.into_iter().collect(),
            overrides: Overrides { data_dir: flag.map(Into::into), ..Overrides::default() },
            ..Sources::default()
        };
        Config::salvage(&sources).map(|config| config.data_dir.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_flag_wins_over_the_variable_that_over_the_file_and_that_over_the_default() {
        let file = "listn = 5\ndata_dir = 'file'\n[limits]\nbody = 'x'\n";
        assert_eq!(found(file, Some("variable"), Some("flag")).as_deref(), Some("flag"));
        assert_eq!(found(file, Some("variable"), None).as_deref(), Some("variable"));
        assert_eq!(found(file, None, None).as_deref(), Some("file"));
        assert_eq!(found("listn = 5", None, None).as_deref(), Some("./frontdesk-data"));
    }

    #[test]
    fn it_is_found_in_a_file_that_is_no_toml() {
        for text in ["data_dir = 'file'\nplain_http = yes\n", "listen = \ndata_dir = 'file'\n[log\nlevel = 1\n"] {
            assert_eq!(found(text, None, None).as_deref(), Some("file"), "{text}");
        }
    }

    #[test]
    fn one_that_cannot_be_read_is_not_guessed() {
        for text in ["data_dir = 5", "data_dir = ''"] {
            assert_eq!(found(text, None, None), None, "{text}");
        }
        assert_eq!(found("", Some(""), None), None);
        for file in [Path::new("/nowhere/my.toml"), Path::new("/")] {
            assert_eq!(Config::salvage(&Sources { file: Some(file.into()), ..Sources::default() }), None);
        }
    }
}
