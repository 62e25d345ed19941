//! Whether agents can be started: as the users that they should be, where they should run, with programs that are there.
//!
//! Programs are looked up as the exec stage does it (`shim/stage.rs`), but in this process's environment, which may be
//! another than the server's.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::agent;
use crate::config::{AgentKind, Config, Persona, PersonaName, RunAs};
use crate::shim::order::User;
use crate::shim::user;

use super::Finding;

const ABOUT: &str = "agents";
/// Where programs are looked for without a `PATH`.
const USUAL_PATH: &str = "/bin:/usr/bin";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut found = unusable(config);
    let processes: Vec<_> = config.personas.iter().filter(|(_, persona)| persona.agent == AgentKind::Process).collect();
    if found.is_empty() && !processes.is_empty() {
        let names: Vec<_> = processes.iter().map(|(name, _)| name.as_str()).collect();
        found.push(Finding::ok(ABOUT, format!("the commands of {} are there", names.join(", "))));
    }
    let trusted = config.trusted_personas();
    if !trusted.is_empty() {
        let names: Vec<_> = trusted.into_iter().map(PersonaName::as_str).collect();
        let sentence = format!("agents of {} run as the server's user and are trusted with all data", names.join(", "));
        found.push(Finding::note(ABOUT, sentence, "set `user` to change that"));
    }
    found.extend(shared(config));
    found
}

/// Which personas' agents reach each other, and which can have fewer agents than the server may run.
fn shared(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let shared = config.shared_personas();
    if !shared.is_empty() {
        let names: Vec<_> = shared.into_iter().map(PersonaName::as_str).collect();
        let sentence = format!("agents of {} share one user, so that each can reach the others", names.join(", "));
        found.push(Finding::note(ABOUT, sentence, "give `user` a range such as \"200000-265535\" to change that"));
    }
    for (name, persona) in &config.personas {
        let most = config.limits.max_running;
        if let Some(range) = persona.user.as_ref().and_then(RunAs::range).filter(|range| range.size() < most) {
            let sentence = format!("`personas.{name}.user` has {} numbers for up to {most} agents", range.size());
            found.push(Finding::note(ABOUT, sentence, "widen the range, or lower `limits.max_running`"));
        }
    }
    found
}

/// What of the personas this machine, as it is now, has not. Another machine may.
pub(crate) fn unusable(config: &Config) -> Vec<Finding> {
    let processes = config.personas.iter().filter(|(_, persona)| persona.agent == AgentKind::Process);
    processes.flat_map(|(name, persona)| of_persona(name, persona)).collect()
}

fn of_persona(name: &PersonaName, persona: &Persona) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(Err(why)) = persona.user.as_ref().map(agent::check_user) {
        found.push(Finding::told(ABOUT, super::Level::Error, format!("`personas.{name}.user` {why}")));
    }
    if let Some(directory) = persona.working_directory.as_deref().filter(|directory| !directory.is_dir()) {
        let sentence = format!("`personas.{name}.working_directory` is {}, which is no directory", directory.display());
        found.push(Finding::error(ABOUT, sentence, "make it"));
    }
    if let Err((what, cure)) = find(persona, user_of(persona).as_ref()) {
        found.push(Finding::error(ABOUT, format!("`personas.{name}.command` {what}"), cure));
    }
    found
}

/// Whom the persona's agents run as; nobody in particular for the server's own user.
fn user_of(persona: &Persona) -> Option<User> {
    match persona.user.as_ref()? {
        RunAs::One(user) => user::resolve(user).ok()?,
        RunAs::Range(range) => Some(user::of_range(range.first())),
    }
}

/// Looks for the persona's program, as the user who is to run it; what is wrong with it, and what to do.
fn find(persona: &Persona, user: Option<&User>) -> Result<(), (String, &'static str)> {
    const INSTALL: &str = "install it, or correct the key";
    let Some(program) = persona.command.first().filter(|_| !persona.runs_this_binary()) else { return Ok(()) };
    let candidates = if program.contains('/') {
        // In a directory of its own, which is empty, a program is looked for when the session is there.
        if persona.own_directory && !program.starts_with('/') {
            return Ok(());
        }
        vec![persona.working_directory.as_deref().unwrap_or(Path::new(".")).join(program)]
    } else {
        std::env::split_paths(&search_path(persona)).map(|directory| directory.join(program)).collect()
    };
    let there: Vec<PathBuf> = candidates.into_iter().filter(|path| path.is_file()).collect();
    let Some(first) = there.first() else {
        let place = if program.contains('/') { "" } else { " in its PATH" };
        return Err((format!("begins with {program:?}, and there is no such program{place}"), INSTALL));
    };
    if there.iter().any(|path| may_execute(path, user)) {
        return Ok(());
    }
    let who = persona.user.as_ref().map_or_else(|| "this user".to_owned(), |user| format!("user {user}"));
    Err((
        format!("begins with {program:?}, and {who} may not execute {}", first.display()),
        "give that user the right to, and to enter the directories above it",
    ))
}

/// The `PATH` that the agent gets.
fn search_path(persona: &Persona) -> OsString {
    let own = persona.environment.get("PATH").map(OsString::from);
    let inherits = persona.inherit_environment.iter().any(|name| name == "PATH");
    own.or_else(|| std::env::var_os("PATH").filter(|_| inherits)).unwrap_or_else(|| USUAL_PATH.into())
}

fn may_execute(path: &Path, user: Option<&User>) -> bool {
    let Some(user) = user else {
        return rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    };
    let Ok(whole) = fs::canonicalize(path) else { return false };
    // The program, and every directory on the way to it.
    whole.ancestors().all(|part| fs::metadata(part).is_ok_and(|metadata| has_execute_bit(&metadata, user)))
}

/// Whether the bits of a file let the user execute or enter it. Access lists are not looked at.
fn has_execute_bit(metadata: &Metadata, user: &User) -> bool {
    let mode = metadata.permissions().mode();
    let bit = if user.uid == 0 {
        0o111
    } else if metadata.uid() == user.uid {
        0o100
    } else if user.groups.contains(&metadata.gid()) || user.gid == metadata.gid() {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

#[cfg(test)]
mod tests {
    use crate::doctor::Level;

    use super::*;

    fn with(change: impl FnOnce(&mut Persona)) -> Config {
        let mut config = Config::default();
        config.personas.values_mut().next().map(change).unwrap();
        config
    }

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_program_that_is_not_there_or_may_not_be_executed_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("agent"), "#!/bin/sh\n").unwrap();
        let config = with(|persona| {
            persona.command = command(&["./agent"]);
            persona.working_directory = Some(directory.path().to_owned());
        });
        assert!(unusable(&config)[0].sentence.contains("may not execute"), "{:?}", unusable(&config));
        fs::set_permissions(directory.path().join("agent"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(unusable(&config), []);
        let missing = with(|persona| persona.command = command(&["no-such-program-anywhere"]));
        assert_eq!(unusable(&missing)[0].level, Level::Error);
        assert!(unusable(&missing)[0].sentence.ends_with("no such program in its PATH"));
    }

    #[test]
    fn a_program_is_looked_for_in_the_path_that_the_agent_gets() {
        let narrow = with(|persona| {
            persona.command = command(&["sh"]);
            persona.environment.insert("PATH".into(), "/nowhere".into());
        });
        assert_eq!(unusable(&narrow).len(), 1);
        assert_eq!(unusable(&with(|persona| persona.command = command(&["sh"]))), []);
    }

    #[test]
    fn a_working_directory_that_is_none_and_a_user_that_is_nobody_are_told_each() {
        let config = with(|persona| {
            persona.working_directory = Some("/nowhere".into());
            persona.user = Some(RunAs::One("no-such-user".into()));
        });
        let texts: Vec<_> = unusable(&config).iter().map(Finding::text).collect();
        assert!(texts[0].contains("no such user"), "{texts:?}");
        assert!(texts[1].ends_with("which is no directory; make it"), "{texts:?}");
    }

    #[test]
    fn agents_of_the_server_s_own_user_are_said_to_be_trusted() {
        let found = check(&Config::default());
        assert!(found.last().unwrap().sentence.contains("CUSTOMERS run as the server's user and are trusted"));
    }

    #[test]
    fn the_bits_that_count_are_those_of_the_user_who_is_to_run_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = || fs::metadata(file.path()).unwrap();
        let (owner, group) = (metadata().uid(), metadata().gid());
        let may = |mode, uid, gid| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            has_execute_bit(&metadata(), &User { uid, gid, groups: vec![], is_own: false })
        };
        let (other, others) = (owner + 1, group + 1);
        assert!(may(0o001, other, others) && !may(0o110, other, others));
        assert!(may(0o010, other, group) && !may(0o101, other, group));
    }
}
