//! The limits that the kernel keeps for each process by itself. The exec stage sets them on itself, before it becomes the
//! agent.
//!
//! Only two are set: the number of open files, and that nothing leaves a core file. The others would not do what a
//! persona's keys say: `RLIMIT_AS` counts addresses, of which Node, Go and Java reserve far more than they use;
//! `RLIMIT_NPROC` counts all processes and threads of a user, other agents' too; `RLIMIT_CPU` counts each process by
//! itself, so that one that forks has no limit. Those are watched over the whole tree, see [`super::watch`].

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::order::Order;

/// Limits the calling process as the order says.
///
/// # Errors
/// Which limit could not be set and what to do about it, in words.
pub fn apply(order: &Order) -> Result<(), String> {
    limit(None, order.limits.open_files, order.descriptors)
}

/// Limits a process, or the calling one. `original` is the soft and the hard limit of descriptors otherwise.
fn limit(process: Option<Pid>, open_files: Option<u64>, original: Option<(u64, u64)>) -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(process, Resource::Core, none).map_err(|error| format!("its core files can't be turned off: {error}"))?;
    let files = |(soft, hard)| {
        let number = |limit| (limit != u64::MAX).then_some(limit);
        prlimit(process, Resource::Nofile, Rlimit { current: number(soft), maximum: number(hard) }).map(drop)
    };
    match (open_files, original) {
        (Some(most), _) => files((most, most)).map_err(|error| {
            format!("its open_files is {most}, more than the server may give ({error}): lower it, or raise the server's own limit")
        }),
        (None, Some(original)) => files(original).map_err(|error| format!("its limit of open files can't be set: {error}")),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const ORIGINAL: Option<(u64, u64)> = Some((100, 200));

    #[test]
    fn a_process_has_the_files_that_its_persona_allows_and_leaves_no_core() {
        assert_eq!(limits_of_a_child(Some(77)), [("Max core file size", 0, 0), ("Max open files", 77, 77)]);
    }

    #[test]
    fn without_a_limit_it_has_as_many_files_as_the_server_was_given() {
        assert_eq!(limits_of_a_child(None), [("Max core file size", 0, 0), ("Max open files", 100, 200)]);
    }

    #[test]
    fn a_limit_above_what_is_possible_says_what_to_do() {
        // No kernel allows that many, not even root.
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let error = limit(Some(Pid::from_child(&child)), Some(1 << 40), ORIGINAL).unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(error.starts_with("its open_files is 1099511627776, more than the server may give"), "{error}");
    }

    fn limits_of_a_child(open_files: Option<u64>) -> [(&'static str, u64, u64); 2] {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        limit(Some(Pid::from_child(&child)), open_files, ORIGINAL).unwrap();
        let text = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        ["Max core file size", "Max open files"].map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let mut words = line.split_whitespace().map(|word| word.parse::<u64>().unwrap());
            (name, words.next().unwrap(), words.next().unwrap())
        })
    }
}
