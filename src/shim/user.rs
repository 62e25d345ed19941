//! Which user an agent runs as, out of the files of users and groups.
//!
//! Only `/etc/passwd` and `/etc/group` are asked: users of a directory service have to be listed there, too. Becoming
//! another user is root's alone; the agent is then out of reach of the server's files and of other users' agents. Agents
//! of one user reach each other: a session whose agent must not is given a number of its own out of a range, which is
//! nobody's in these files.

use std::fs;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::config::UidRange;

use super::order::User;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Finds the user of this name or number; `None` if that is who this process is, so that nothing has to change.
///
/// # Errors
/// Why no agent can run as that user and what to do about it, as the end of a sentence that begins with the key.
pub fn resolve(wanted: &str) -> Result<Option<User>, String> {
    let user = find(wanted, &read(wanted, USERS)?, &read(wanted, GROUPS)?)?;
    let own = rustix::process::geteuid();
    permitted(wanted, user, own.as_raw())
}

/// Checks that agents can be given users out of this range.
///
/// # Errors
/// Why not and what to do about it, as the end of a sentence that begins with the key.
pub fn check_range(range: UidRange) -> Result<(), String> {
    let wanted = range.to_string();
    let (users, groups) = (read(&wanted, USERS)?, read(&wanted, GROUPS)?);
    match in_range(range, &users, USERS).or_else(|| in_range(range, &groups, GROUPS)) {
        Some((number, name, file)) => Err(format!(
            "is {wanted:?}, and {number} is {name} in {file}: choose numbers that no user and no group of this machine has"
        )),
        None if rustix::process::geteuid().is_root() => Ok(()),
        None => Err(only_root(&wanted)),
    }
}

/// The user with this number out of a range, and the group with the same number.
pub fn of_range(uid: u32) -> User {
    User { uid, gid: uid, groups: vec![uid], is_own: true }
}

/// The number of the group of this name or number.
///
/// # Errors
/// Why there is none.
pub fn group(wanted: &str) -> Result<u32, String> {
    if let Some(number) = id(wanted) {
        return Ok(number);
    }
    let groups = fs::read(GROUPS).map_err(|error| format!("{GROUPS} can't be read: {error}"))?;
    let groups = String::from_utf8_lossy(&groups);
    let mut found = groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?);
        (name == wanted && !name.starts_with(['#', '+', '-'])).then(|| id(gid))?
    });
    found.next().ok_or_else(|| format!("{GROUPS} has no such group"))
}

/// Makes the calling thread this user for good. The exec stage, which has a single one, calls it last before it becomes
/// the agent: after that it can neither change limits nor enter a control group, and the system has forgotten any signal
/// for the death of its parent.
///
/// # Errors
/// What the system refused, in words.
pub fn assume(user: &User) -> Result<(), String> {
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // The user comes last: with it goes the right to change the others.
    set_thread_groups(&groups)
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .map_err(|error| format!("it can't become user {}: {error}", user.uid))
}

fn permitted(wanted: &str, user: User, own: u32) -> Result<Option<User>, String> {
    match own {
        0 => Ok(Some(user)),
        _ if own == user.uid => Ok(None),
        _ => Err(only_root(wanted)),
    }
}

fn only_root(wanted: &str) -> String {
    format!("is {wanted:?}, and only root can run agents as another user: start the server as root, or leave it out")
}

fn read(wanted: &str, path: &str) -> Result<String, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(format!("is {wanted:?}, and {path} can't be read ({error}): make it readable")),
    }
}

/// The first number of the range that a file of users or groups has, with its name.
fn in_range<'a>(range: UidRange, text: &'a str, file: &'a str) -> Option<(u32, &'a str, &'a str)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, id(fields.next()?)?);
        (!name.starts_with(['#', '+', '-']) && range.contains(number)).then_some((number, name, file))
    })
}

fn find(wanted: &str, users: &str, groups: &str) -> Result<User, String> {
    let number = wanted.parse::<u32>().ok();
    let found = users.lines().filter_map(entry).find(|(name, uid, _)| match number {
        Some(number) => *uid == number,
        None => *name == wanted,
    });
    let (name, uid, gid) = found
        .ok_or_else(|| format!("is {wanted:?}, and {USERS} has no such user: add it there, or correct the key"))?;
    let mut all: Vec<u32> = groups.lines().filter_map(|line| group_of(line, name)).chain([gid]).collect();
    all.sort_unstable();
    all.dedup();
    Ok(User { uid, gid, groups: all, is_own: false })
}

/// The name, number and primary group of a user. Lines that are no user's are comments, or switches of old services.
fn entry(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.split(':');
    let (name, _password) = (fields.next()?, fields.next()?);
    let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
    (!name.is_empty() && !name.starts_with(['#', '+', '-'])).then_some((name, uid, gid))
}

/// The number of the group in this line, if the user of this name is a member.
fn group_of(line: &str, user: &str) -> Option<u32> {
    let mut fields = line.split(':');
    let (name, _password, gid, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_member = !name.starts_with(['#', '+', '-']) && members.split(',').any(|member| member.trim() == user);
    id(gid).filter(|_| is_member)
}

/// The highest number stands for "leave it as it is" in the system's calls, and is nobody's.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS_TEXT: &str = "root:x:0:0:root:/root:/bin/bash\n# agents:x:1:1::/:/bin/sh\n+agents::2:2:::\n\
        agents:x:1001:100:Agents,,,:/home/agents:/usr/sbin/nologin\nbroken:x:minus:1::/:\nnobody:x:4294967295:1::/:\n";
    const GROUPS_TEXT: &str = "root:x:0:\nusers:x:100:agents\nmail:x:8:root,agents\naudio:x:29:agents2,root\n\
        #wheel:x:10:agents\nodd\n";

    #[test]
    fn a_user_is_found_by_name_and_by_number_with_all_groups() {
        let agents = User { uid: 1001, gid: 100, groups: vec![8, 100], is_own: false };
        assert_eq!(find("agents", USERS_TEXT, GROUPS_TEXT), Ok(agents.clone()));
        assert_eq!(find("1001", USERS_TEXT, GROUPS_TEXT), Ok(agents));
    }

    #[test]
    fn who_is_in_no_file_is_no_user() {
        for wanted in ["agent", "1002", "", "broken", "#", "4294967295"] {
            let error = find(wanted, USERS_TEXT, GROUPS_TEXT).unwrap_err();
            assert_eq!(
                error,
                format!("is {wanted:?}, and /etc/passwd has no such user: add it there, or correct the key")
            );
        }
    }

    #[test]
    fn only_root_runs_agents_as_another_user() {
        let agents = || User { uid: 1001, gid: 100, groups: vec![100], is_own: false };
        assert_eq!(permitted("agents", agents(), 0), Ok(Some(agents())));
        assert_eq!(permitted("agents", agents(), 1001), Ok(None));
        assert_eq!(
            permitted("agents", agents(), 1002).unwrap_err(),
            "is \"agents\", and only root can run agents as another user: start the server as root, or leave it out"
        );
    }

    #[test]
    fn a_range_holds_no_number_that_somebody_has() {
        let of = |first, last| UidRange::new(first, last).unwrap();
        assert_eq!(in_range(of(1000, 1001), USERS_TEXT, USERS), Some((1001, "agents", USERS)));
        assert_eq!(in_range(of(90, 110), GROUPS_TEXT, GROUPS), Some((100, "users", GROUPS)));
        for free in [of(1, 1), of(1002, u32::MAX - 1)] {
            assert_eq!(in_range(free, USERS_TEXT, USERS), None, "{free}");
        }
        let why = check_range(of(1, 65_535)).unwrap_err();
        assert!(why.ends_with(": choose numbers that no user and no group of this machine has"), "{why}");
    }

    #[test]
    fn root_is_a_user_of_this_machine() {
        let found = find("root", &fs::read_to_string(USERS).unwrap(), &fs::read_to_string(GROUPS).unwrap()).unwrap();
        assert_eq!(found.uid, 0);
    }

    #[test]
    fn who_became_another_user_keeps_nothing_of_root_and_who_is_not_root_is_told_so() {
        let agents = User { uid: 54_321, gid: 54_322, groups: vec![54_322, 54_323], is_own: false };
        let became = std::thread::spawn(move || {
            let outcome = assume(&agents);
            outcome.map(|()| fs::read_to_string("/proc/thread-self/status").unwrap())
        });
        match (rustix::process::geteuid().is_root(), became.join().unwrap()) {
            (true, Ok(status)) => {
                let line = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
                assert_eq!(line("Uid:"), ["54321"; 4].join("\t"));
                assert_eq!(line("Gid:"), ["54322"; 4].join("\t"));
                assert_eq!(line("Groups:"), "54322 54323");
                assert_eq!(line("CapEff:"), "0".repeat(16));
            }
            (false, Err(why)) => assert!(why.starts_with("it can't become user 54321: "), "{why}"),
            (is_root, outcome) => panic!("root {is_root}: {outcome:?}"),
        }
    }
}
