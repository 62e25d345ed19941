//! Which keys a persona must and may have, by the kind of its agent.
//!
//! Only the loader can check it, because only it knows what was written; the values themselves are checked elsewhere.

use super::choice::Choice;
use super::error::{Origin, Problem};
use super::file::{Layer, Setting};
use super::keys::KeyPath;
use super::persona::{AgentKind, PersonaName};

/// Keys that only mean something to a process.
const OF_PROCESSES: &[&str] = &[
    "command",
    "protocol",
    "environment",
    "inherit_environment",
    "working_directory",
    "own_directory",
    "own_directory_quota",
    "orphan_timeout",
    "user",
    "memory",
    "cpu_time",
    "open_files",
    "processes",
    "output_rate",
];
/// Keys that only mean something to a service.
const OF_SERVICES: &[&str] = &["service"];

/// Whether a persona whose `agent` is this may have the key.
pub(super) fn knows(kind: &str, key: &str) -> bool {
    if kind == AgentKind::Http.name() { !OF_PROCESSES.contains(&key) } else { !OF_SERVICES.contains(&key) }
}

/// What the written personas lack, or have and can't have.
pub(super) fn misfits(file: &Layer, environment: &Layer) -> Vec<Problem> {
    // The environment may adjust the persona that exists when none is written.
    let mut names = environment.personas.keys();
    let is_built_in = file.personas.is_empty() && names.all(|name| name == PersonaName::BUILT_IN);
    let mut named = environment.personas.clone();
    named.extend(file.personas.clone());
    let settings: Vec<_> = file.settings.iter().chain(&environment.settings).collect();
    named.iter().flat_map(|(name, origin)| misfits_of(name, origin, &settings, is_built_in)).collect()
}

fn misfits_of(name: &str, origin: &Origin, settings: &[&Setting], is_built_in: bool) -> Vec<Problem> {
    let persona = KeyPath::persona(name);
    // The last one holds, as it does when the settings are put together.
    let written = |key: &str| {
        let path = persona.child(key);
        settings.iter().rev().find(|setting| setting.path == path)
    };
    let is_service = written("agent").is_some_and(|setting| setting.value.as_str() == Some(AgentKind::Http.name()));
    let (required, refused, kind) = match is_service {
        true => ("service", OF_PROCESSES, AgentKind::Http),
        false => ("command", OF_SERVICES, AgentKind::Process),
    };
    let mut problems = Vec::new();
    if written(required).is_none() && (is_service || !is_built_in) {
        let what = match kind {
            AgentKind::Http => "name a service of the service mapping, such as \"ROBOTS\"",
            AgentKind::Process => "say what starts the agent, such as [\"frontdesk\", \"agent\", \"echo\"]",
        };
        let text = format!("`{}` is missing: {what}", persona.child(required));
        problems.push(Problem { origin: Some(origin.clone()), text });
    }
    for setting in refused.iter().filter_map(|key| written(key)) {
        let why = match kind {
            AgentKind::Http => "means nothing to a persona with agent = \"http\", whose agents are no processes",
            AgentKind::Process => "means nothing to a persona without agent = \"http\"",
        };
        let text = format!("`{}` {why}: remove it", setting.path);
        problems.push(Problem { origin: Some(setting.origin.clone()), text });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::{errors, load};

    #[test]
    fn a_persona_of_a_service_names_it_and_may_have_what_every_persona_may_have() {
        let text = "[personas.A]\nagent = 'http'\nservice = 'ROBOTS'\nstart_timeout = '5s'\nauto_initialize = true";
        let config = load(text, &[]).unwrap().config;
        assert_eq!(config.personas["A"].service.as_deref(), Some("ROBOTS"));
    }

    #[test]
    fn a_persona_of_a_service_needs_its_name() {
        let missing = "`personas.A.service` is missing: name a service of the service mapping, such as \"ROBOTS\"";
        assert_eq!(errors("[personas.A]\nagent = 'http'", &[]), [format!("frontdesk.toml:1: {missing}")]);
        let variable = ("FRONTDESK_PERSONAS__CUSTOMERS__AGENT", "http");
        assert_eq!(errors("", &[variable]), [format!("{}: {}", variable.0, missing.replace(".A.", ".CUSTOMERS."))]);
    }

    #[test]
    fn what_only_processes_have_is_refused_for_a_service() {
        for line in [
            "command = ['x']",
            "protocol = 'none'",
            "environment = {}",
            "inherit_environment = []",
            "working_directory = '/'",
        ] {
            let key = line.split(' ').next().unwrap();
            assert_eq!(
                errors(&format!("[personas.A]\nagent = 'http'\nservice = 'B'\n{line}"), &[]),
                [format!(
                    "frontdesk.toml:4: `personas.A.{key}` means nothing to a persona with agent = \"http\", whose \
                     agents are no processes: remove it"
                )]
            );
        }
    }

    #[test]
    fn a_service_is_refused_for_a_persona_of_processes() {
        assert_eq!(
            errors("[personas.A]\ncommand = ['x']\nservice = 'B'", &[]),
            ["frontdesk.toml:3: `personas.A.service` means nothing to a persona without agent = \"http\": remove it"]
        );
    }

    #[test]
    fn the_environment_decides_about_the_kind_last() {
        let variables = [("FRONTDESK_PERSONAS__A__AGENT", "process"), ("FRONTDESK_PERSONAS__A__COMMAND", "['x']")];
        assert_eq!(
            errors("[personas.A]\nagent = 'http'\nservice = 'B'", &variables),
            ["frontdesk.toml:3: `personas.A.service` means nothing to a persona without agent = \"http\": remove it"]
        );
    }

    #[test]
    fn what_is_shown_of_a_service_can_be_loaded_again() {
        let loaded = load("[personas.A]\nagent = 'http'\nservice = 'ROBOTS'", &[]).unwrap();
        let shown = loaded.to_toml();
        assert!(!shown.contains("command"), "{shown}");
        assert_eq!(load(&shown, &[]).unwrap().config, loaded.config);
    }
}
