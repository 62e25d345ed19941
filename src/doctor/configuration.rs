//! Whether the configuration is good: every problem at once, each with the place where it was written.

use crate::config::{Config, ConfigError, Loaded};
use crate::telemetry;

use super::{Finding, Level};

const ABOUT: &str = "configuration";

pub(super) fn check(loaded: &Result<Loaded, ConfigError>, salvaged: Option<&Config>) -> Vec<Finding> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let problems = error.to_string();
            let found = problems.lines().map(|problem| Finding::told(ABOUT, Level::Error, problem));
            let rest = salvaged.map_or_else(
                || "nothing else was looked at".to_owned(),
                |config| {
                    let place = config.data_dir.display();
                    format!(
                        "only the server, the data directory {place}, its store, the clocks and, by the default limits, the \
                         machine were looked at"
                    )
                },
            );
            let rest = Finding::note(ABOUT, rest, "correct the configuration, and ask again");
            return found.chain([rest]).collect();
        }
    };
    let of_log = telemetry::filter(&loaded.config.log.level).err();
    let of_log = of_log.map(|why| Finding::told(ABOUT, Level::Error, why));
    let warnings = loaded.warnings.iter().map(|warning| Finding::told(ABOUT, Level::Warning, warning));
    let found: Vec<_> = of_log.into_iter().chain(warnings).collect();
    if found.is_empty() { vec![Finding::ok(ABOUT, "the configuration is good")] } else { found }
}

#[cfg(test)]
mod tests {
    use crate::config::Sources;

    use super::*;

    fn of(text: &str) -> Vec<Finding> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("frontdesk.toml");
        std::fs::write(&file, text).unwrap();
        check(&Config::load(&Sources { file: Some(file), ..Sources::default() }), None)
    }

    #[test]
    fn each_problem_is_an_error_of_its_own_and_the_rest_waits_for_them() {
        let found = of("lissten = 1\nplain_http = 'maybe'\n");
        let levels: Vec<_> = found.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Error, Level::Error, Level::Note]);
        assert!(found[0].sentence.contains("did you mean `listen`?"), "{found:?}");
    }

    #[test]
    fn what_is_allowed_and_dangerous_is_a_warning() {
        let found = of("listen = '0.0.0.0:1'\nplain_http = true\n");
        assert_eq!((found.len(), found[0].level), (1, Level::Warning));
        assert_eq!(of("")[0].level, Level::Ok);
        assert_eq!(of("log.level = 'a=b=c'")[0].level, Level::Error);
    }
}
