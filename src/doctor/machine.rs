//! Whether the machine gives the server what its configuration reckons with: descriptors, processes, memory, control groups.

use std::fs;
use std::path::PathBuf;

use crate::config::{AgentKind, Config, Persona, roughly_size};
use crate::descriptors;

use super::Finding;
use super::process::Bounds;

const ABOUT: &str = "machine";
/// An agent and its shim.
const PROCESSES_PER_AGENT: u64 = 2;
/// The server's own threads, its launcher, and what operators do beside it.
const OWN_PROCESSES: u64 = 64;
const LITTLE_MEMORY_BYTES: u64 = 256 << 20;

/// What was found of the machine.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Of the server, or of this shell.
    bounds: Bounds,
    /// Whether they are the running server's.
    is_server: bool,
    /// Bytes of memory, and how many of them are free to be taken.
    memory: Option<(u64, u64)>,
    /// Whether the server's user is root, for whom no limit of processes holds.
    is_root: bool,
}

impl Facts {
    pub(super) fn look(server: Option<u32>) -> Self {
        let process = server.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let of_memory = |name| kibibytes(&memory, name).map(|amount| amount << 10);
        Self {
            bounds: Bounds::of(&PathBuf::from("/proc").join(process)),
            is_server: server.is_some(),
            memory: of_memory("MemTotal:").zip(of_memory("MemAvailable:")),
            is_root: rustix::process::geteuid().is_root(),
        }
    }
}

pub(super) fn check(config: &Config, facts: &Facts) -> Vec<Finding> {
    let found = [of_descriptors(config, facts), of_processes(config, facts), of_memory(config, facts)];
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    if found.is_empty() {
        let agents = config.limits.max_running;
        let whose = if facts.is_server { "the server" } else { "this shell" };
        found.push(Finding::ok(ABOUT, format!("what {whose} may take is enough for {agents} agents")));
    }
    found.extend(of_groups(config, facts));
    found
}

fn of_descriptors(config: &Config, facts: &Facts) -> Option<Finding> {
    let limit = facts.bounds.open_files?;
    let limits = &config.limits;
    let room = descriptors::room(limit, limits.connections, limits.max_running);
    (room < limits.connections).then(|| {
        let sentence = format!(
            "the limit of {limit} open files leaves room for {room} connections beside {} agents, and \
             `limits.connections` is {}",
            limits.max_running, limits.connections
        );
        let cure = "raise it (LimitNOFILE= of a systemd unit, `ulimit -Hn`), or lower one of the two";
        Finding::warning(ABOUT, sentence, cure)
    })
}

fn of_processes(config: &Config, facts: &Facts) -> Option<Finding> {
    if config.personas.values().all(|persona| persona.agent == AgentKind::Http) {
        return None;
    }
    let of_user = facts.bounds.processes.filter(|_| !facts.is_root).map(|limit| (limit, "this user may have"));
    let of_group = facts.bounds.tasks.map(|limit| (limit, "the control group may have"));
    let (limit, whose) = [of_user, of_group].into_iter().flatten().min()?;
    let wanted = u64::from(config.limits.max_running) * PROCESSES_PER_AGENT + OWN_PROCESSES;
    (limit < wanted).then(|| {
        let agents = config.limits.max_running;
        let sentence = format!("{whose} {limit} processes, and {agents} agents with their shims are at least {wanted}");
        let cure = "raise it (TasksMax= and LimitNPROC= of a systemd unit), or lower `limits.max_running`";
        Finding::warning(ABOUT, sentence, cure)
    })
}

fn of_memory(config: &Config, facts: &Facts) -> Option<Finding> {
    let (all, free) = facts.memory?;
    if free < LITTLE_MEMORY_BYTES {
        let sentence = format!("only {} of memory are free", roughly_size(free));
        let cure = "stop something, add memory, or lower `limits.max_running`";
        return Some(Finding::warning(ABOUT, sentence, cure));
    }
    let largest = config.personas.values().filter_map(|persona| persona.memory).max()?;
    let wanted = largest.saturating_mul(u64::from(config.limits.max_running));
    (wanted > all).then(|| {
        let sentence = format!(
            "{} agents of up to {} may take {}, and the machine has {}",
            config.limits.max_running,
            roughly_size(largest),
            roughly_size(wanted),
            roughly_size(all)
        );
        Finding::note(ABOUT, sentence, "lower `limits.max_running`, unless few of them take all that they may")
    })
}

/// How the limits of agents are kept, if there are any.
fn of_groups(config: &Config, facts: &Facts) -> Option<Finding> {
    let is_limited = |persona: &Persona| persona.memory.is_some() || persona.processes.is_some();
    if !config.personas.values().any(is_limited) {
        return None;
    }
    let Some(why) = &facts.bounds.without_groups else {
        return Some(Finding::ok(ABOUT, "the kernel keeps agents' limits of memory, by control groups"));
    };
    let seen = if facts.is_server { "" } else { " (as seen from this shell)" };
    let why = why.trim_start_matches("not usable: ");
    let sentence = format!("agents' limits are kept by a look every 500 ms, for want of control groups{seen}: {why}");
    Some(Finding::note(ABOUT, sentence, "run the server under contrib/frontdesk.service to have the kernel keep them"))
}

/// The number in a line `NAME  NUMBER kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::doctor::Level;

    use super::*;

    fn ample() -> Facts {
        let bounds = Bounds { open_files: Some(1 << 20), processes: None, tasks: None, without_groups: None };
        Facts { bounds, is_server: true, memory: Some((8 << 30, 4 << 30)), is_root: false }
    }

    fn with_bounds(change: impl FnOnce(&mut Bounds)) -> Facts {
        let mut facts = ample();
        change(&mut facts.bounds);
        facts
    }

    fn found(facts: &Facts) -> Vec<Finding> {
        check(&Config::default(), facts)
    }

    #[test]
    fn a_machine_with_room_for_all_is_one_good_line() {
        let found = found(&ample());
        assert_eq!((found.len(), found[0].level), (1, Level::Ok), "{found:?}");
        assert_eq!(found[0].sentence, "what the server may take is enough for 2000 agents");
    }

    #[test]
    fn too_few_descriptors_or_processes_are_told_with_what_they_leave_room_for() {
        let few = found(&with_bounds(|bounds| bounds.open_files = Some(1_024)));
        assert!(few[0].sentence.contains("room for 512 connections"), "{few:?}");
        for narrow in
            [with_bounds(|bounds| bounds.processes = Some(1_000)), with_bounds(|bounds| bounds.tasks = Some(1_000))]
        {
            let few = found(&narrow);
            assert!(few[0].sentence.contains("1000 processes, and 2000 agents"), "{few:?}");
        }
        let root = Facts { is_root: true, ..with_bounds(|bounds| bounds.processes = Some(1_000)) };
        assert_eq!(found(&root)[0].level, Level::Ok);
    }

    #[test]
    fn memory_that_agents_may_take_and_the_machine_has_not_is_a_note() {
        let mut config = Config::default();
        config.personas.values_mut().for_each(|persona| persona.memory = Some(1 << 30));
        let all = check(&config, &ample());
        assert_eq!(all[0].level, Level::Note);
        assert!(all[0].sentence.contains("2.0 TiB, and the machine has 8.0 GiB"), "{all:?}");
        let full = Facts { memory: Some((8 << 30, 1 << 20)), ..ample() };
        assert_eq!(found(&full)[0].level, Level::Warning);
    }

    #[test]
    fn who_keeps_the_limits_of_agents_is_told_if_there_are_any() {
        let mut config = Config::default();
        config.personas.values_mut().for_each(|persona| persona.processes = Some(8));
        assert_eq!(check(&config, &ample())[1].level, Level::Ok);
        let without = with_bounds(|bounds| bounds.without_groups = Some("not usable: no".into()));
        assert!(check(&config, &without)[1].sentence.ends_with("for want of control groups: no"));
    }
}
