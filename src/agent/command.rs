//! What is ordered for an agent: its command line, its environment, its bounds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::config::{Config, Protocol, RunAs};
use crate::descriptors;
use crate::session::Reason;
use crate::shim::order::{Order, User};
use crate::shim::place::Place;
use crate::shim::user;

use super::leftovers::{DESK_VARIABLE, EPOCH_VARIABLE, SESSION_VARIABLE};
use super::verdict::not_started;
use super::{AgentSpec, Launcher};

/// The order to start the agent of `spec` in `place`.
///
/// # Errors
/// Why it can't run as the user that its persona names.
pub(super) fn order(launcher: &Launcher, spec: &AgentSpec, place: &Place) -> Result<Order, Reason> {
    let persona = &spec.persona;
    let user = user(launcher, spec).map_err(|why| not_started(format_args!("the `user` of its persona {why}")))?;
    let desk = launcher.store.desk();
    let (program, arguments) = command_line(&persona.command, persona.runs_this_binary());
    Ok(Order {
        session: spec.session,
        epoch: spec.epoch,
        directory: place.root().to_owned(),
        secret: desk.token_key.agent_secret(spec.session, spec.epoch),
        program,
        arguments,
        environment: environment(spec, &desk.id),
        // The launcher runs where the server does, but a path is clearer in what it is told to whom.
        working_directory: (!persona.own_directory)
            .then(|| persona.working_directory.clone().unwrap_or_else(|| PathBuf::from("."))),
        speaks: persona.protocol == Protocol::JsonRpc,
        stop_grace: persona.stop_grace,
        orphan_timeout: persona.orphan_timeout,
        spool_bytes: launcher.limits.spool_bytes,
        log_bytes: launcher.limits.log_bytes,
        limits: persona.limits(),
        descriptors: descriptors::before(),
        user,
    })
}

/// As whom the agent runs, if not as the server's own user.
fn user(launcher: &Launcher, spec: &AgentSpec) -> Result<Option<User>, String> {
    match &spec.persona.user {
        None => Ok(None),
        Some(RunAs::One(user)) => user::resolve(user),
        Some(RunAs::Range(range)) => Ok(Some(user::of_range(launcher.uids.take(spec.session, *range)?))),
    }
}

/// Checks that agents can run as the users that their personas name.
///
/// # Errors
/// One sentence about the first that can't.
pub(crate) fn check_users(config: &Config) -> Result<(), String> {
    for (name, persona) in &config.personas {
        if let Some(user) = &persona.user {
            check_user(user).map_err(|why| format!("the `user` of persona {name} {why}"))?;
        }
    }
    Ok(())
}

/// Checks that agents can run as this user, or as those of this range.
///
/// # Errors
/// Why not and what to do about it, as the end of a sentence that begins with the key.
pub(crate) fn check_user(user: &RunAs) -> Result<(), String> {
    match user {
        RunAs::One(user) => user::resolve(user).map(drop),
        RunAs::Range(range) => user::check_range(*range),
    }
}

/// The users that agents run as and the server does not, each as a range of numbers.
pub(crate) fn users(config: &Config) -> Vec<RangeInclusive<u32>> {
    let named = config.personas.values().filter_map(|persona| persona.user.as_ref());
    let found = named.filter_map(|user| match user {
        RunAs::One(name) => user::resolve(name).ok().flatten().map(|user| user.uid..=user.uid),
        RunAs::Range(range) => Some(range.first()..=range.first() + (range.size() - 1)),
    });
    found.collect()
}

fn command_line(command: &[String], is_this_binary: bool) -> (Option<OsString>, Vec<OsString>) {
    let program = command.first().filter(|_| !is_this_binary).map(OsString::from);
    (program, command.iter().map(OsString::from).collect())
}

fn environment(spec: &AgentSpec, desk: &str) -> BTreeMap<OsString, OsString> {
    let persona = &spec.persona;
    let inherited = persona.inherit_environment.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let own = persona.environment.iter().map(|(name, value)| (name.into(), value.into()));
    let marks = [
        (DESK_VARIABLE, desk.to_owned()),
        (SESSION_VARIABLE, spec.session.to_string()),
        (EPOCH_VARIABLE, spec.epoch.to_string()),
    ];
    let marks = marks.map(|(name, value)| (name.into(), OsString::from_vec(value.into_bytes())));
    inherited.chain(own).chain(marks).collect()
}
