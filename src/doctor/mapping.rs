//! Whether the service mapping has the services that are looked up in it, under the names under which they are.

use std::path::Path;

use strsim::osa_distance;

use crate::config::Config;
use crate::service_mapping::{CREDENTIAL_SERVER, MappingError, ServiceMapping};

use super::Finding;

const ABOUT: &str = "service mapping";
/// How many letters a slip may change.
const SLIP: usize = 2;

/// Checks the file. `in_force` is the credential server that a running server asks, `Some(None)` if it asks none.
pub(super) fn check(
    path: &Path,
    mapping: &ServiceMapping,
    config: &Config,
    in_force: Option<Option<&str>>,
) -> Vec<Finding> {
    let (shown, names) = (path.display(), mapping.names());
    let differing = in_force.and_then(|in_force| differing(path, mapping.get(CREDENTIAL_SERVER).as_deref(), in_force));
    if !path.exists() {
        let sentence = format!("there is no {shown}: the embedded credential server decides, and agents are processes");
        let mut found = vec![differing.unwrap_or_else(|| Finding::ok(ABOUT, sentence))];
        found.extend(unmapped(path, mapping, config));
        return found;
    }
    let mut found: Vec<_> = slips(&names)
        .into_iter()
        .map(|slip| {
            let sentence = format!("{shown} has {slip}, and no {CREDENTIAL_SERVER}: the embedded one decides");
            Finding::warning(ABOUT, sentence, format!("call it {CREDENTIAL_SERVER}, if that is what it is"))
        })
        .collect();
    found.extend(differing);
    found.extend(unmapped(path, mapping, config));
    if found.is_empty() {
        let services = if names.len() == 1 { "service" } else { "services" };
        found.push(Finding::ok(ABOUT, format!("{shown} has {} {services}", names.len())));
    }
    found
}

/// A running server that goes by something else than what stands in the file.
fn differing(path: &Path, written: Option<&str>, in_force: Option<&str>) -> Option<Finding> {
    if written == in_force {
        return None;
    }
    let named = |server: Option<&str>| server.map_or_else(|| format!("no {CREDENTIAL_SERVER}"), str::to_owned);
    let asked = in_force.map_or_else(|| "the embedded credential server".to_owned(), str::to_owned);
    let sentence = format!("the running server asks {asked}, and {} names {}", path.display(), named(written));
    let cure =
        "run doctor with the server's own options and directory, or look in its log for why it kept another mapping";
    Some(Finding::warning(ABOUT, sentence, cure))
}

/// A mapping that is none.
pub(super) fn broken(error: &MappingError) -> Finding {
    Finding::error(
        ABOUT,
        error.to_string(),
        "correct that file: no server starts on it, and a running one keeps the last",
    )
}

/// The services of personas that a mapping which is there does not have. One that is missing may still be to come.
pub(crate) fn unmapped(path: &Path, mapping: &ServiceMapping, config: &Config) -> Vec<Finding> {
    let services = config.personas.iter().filter_map(|(name, persona)| Some((name, persona.service.as_deref()?)));
    let missing = services.filter(|(_, service)| path.exists() && mapping.get(service).is_none());
    missing
        .map(|(name, service)| {
            let what = format!("`personas.{name}.service` is {service:?}, which {} does not have", path.display());
            let cure = match mapping.names().into_iter().find(|known| is_slip(known, service)) {
                Some(near) => format!("it has {near:?}: make the two alike, or the persona's sessions can't start"),
                None => "add it there, or the persona's sessions can't start".to_owned(),
            };
            Finding::warning(ABOUT, what, cure)
        })
        .collect()
}

/// The names that were meant to be the credential server's, if none is.
fn slips(names: &[String]) -> Vec<&String> {
    if names.iter().any(|name| name == CREDENTIAL_SERVER) {
        return Vec::new();
    }
    names.iter().filter(|name| is_slip(name, CREDENTIAL_SERVER)).collect()
}

fn is_slip(written: &str, meant: &str) -> bool {
    let plain = |name: &str| name.to_ascii_uppercase().replace(['-', ' ', '.'], "_");
    osa_distance(&plain(written), &plain(meant)) <= SLIP
}

#[cfg(test)]
mod tests {
    use crate::config::AgentKind;
    use crate::doctor::Level;

    use super::*;

    fn of(text: &str, service: Option<&str>) -> Vec<Finding> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mapping.json");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::default();
        if let Some(service) = service {
            config.personas.values_mut().for_each(|persona| {
                persona.agent = AgentKind::Http;
                persona.service = Some(service.to_owned());
            });
        }
        check(&path, &ServiceMapping::load(&path, true).unwrap(), &config, None)
    }

    #[test]
    fn a_name_that_is_nearly_the_credential_server_s_is_a_warning() {
        for name in ["CREDENTIAL_SEVER", "credential-server", "CREDENTIALS_SERVER"] {
            let found = of(&format!("{{\"{name}\": \"localhost:1\"}}"), None);
            assert_eq!((found.len(), found[0].level), (1, Level::Warning), "{name}: {found:?}");
        }
        assert_eq!(
            of(r#"{"CREDENTIAL_SERVER": "localhost:1", "CREDENTIAL_SERVE": "localhost:1"}"#, None)[0].level,
            Level::Ok
        );
        assert_eq!(of(r#"{"PAYMENTS": "localhost:1"}"#, None)[0].level, Level::Ok);
        assert!(of(r#"{"PAYMENTS": "localhost:1"}"#, None)[0].sentence.ends_with(" has 1 service"));
    }

    #[test]
    fn a_running_server_that_asks_another_than_the_file_names_is_a_warning() {
        let path = Path::new("mapping.json");
        assert_eq!(differing(path, Some("a:1"), Some("a:1")), None);
        assert_eq!(differing(path, None, None), None);
        let other = differing(path, None, Some("a:1")).unwrap();
        assert!(other.sentence.contains("asks a:1, and mapping.json names no CREDENTIAL_SERVER"), "{other:?}");
        let embedded = differing(path, Some("a:1"), None).unwrap();
        assert!(embedded.sentence.contains("asks the embedded credential server, and"), "{embedded:?}");
    }

    #[test]
    fn a_persona_s_service_that_is_not_there_names_the_one_that_is_nearly_it() {
        let found = of(r#"{"AGENTS": "localhost:1"}"#, Some("AGENT"));
        assert!(found[0].text().contains("it has \"AGENTS\""), "{found:?}");
        assert_eq!(of(r#"{"AGENT": "localhost:1"}"#, Some("AGENT"))[0].level, Level::Ok);
    }
}
