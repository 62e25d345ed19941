//! What `/proc` and its neighbours say of a process's bounds: the running server's if there is one, else this shell's.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::shim::cgroup::group_of_process;

/// The bounds of one process and of the control groups that it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Open files, as far as the process may raise them itself; nothing if there is no limit.
    pub(super) open_files: Option<u64>,
    /// Processes of its user.
    pub(super) processes: Option<u64>,
    /// Processes of the narrowest control group around it.
    pub(super) tasks: Option<u64>,
    /// Why control groups keep no limits of agents, in words; nothing if they do.
    pub(super) without_groups: Option<String>,
}

impl Bounds {
    /// Those of a process, by its directory in `/proc`.
    pub(super) fn of(process: &Path) -> Self {
        let limits = fs::read_to_string(process.join("limits")).unwrap_or_default();
        let group = group_of_process(process);
        Self {
            open_files: hard_limit(&limits, "Max open files"),
            processes: hard_limit(&limits, "Max processes"),
            tasks: group.as_ref().ok().and_then(|group| least_tasks(group)),
            without_groups: group.and_then(|group| usable(&group)).err(),
        }
    }
}

/// The hard limit in a line of `/proc/PID/limits`: `NAME  SOFT  HARD  UNIT`.
fn hard_limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The least `pids.max` of a group and of those above it.
fn least_tasks(group: &Path) -> Option<u64> {
    let limit = |directory: &Path| fs::read_to_string(directory.join("pids.max")).ok()?.trim().parse().ok();
    group.ancestors().filter_map(limit).min()
}

/// Whether agents' groups can be made beside or below this one; nothing is made to find out.
fn usable(group: &Path) -> Result<(), String> {
    let parent = match group.parent() {
        Some(parent) if group.ends_with("server") => parent.to_owned(),
        Some(_) | None => group.to_owned(),
    };
    let controllers = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    for wanted in ["memory", "pids"] {
        if !controllers.split_ascii_whitespace().any(|controller| controller == wanted) {
            return Err(format!("{} has no controller `{wanted}`", parent.display()));
        }
    }
    let may_write = |path: PathBuf| {
        rustix::fs::accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(|errno| format!("{}: {}", path.display(), std::io::Error::from(errno)))
    };
    may_write(parent.join("cgroup.subtree_control")).and_then(|()| may_write(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limits_are_read_and_none_is_no_number() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             63485                unlimited            processes \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(hard_limit(text, "Max open files"), Some(524_288));
        assert_eq!(hard_limit(text, "Max processes"), None);
    }

    #[test]
    fn the_narrowest_group_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let (outer, inner) = (root.path().join("a"), root.path().join("a/b"));
        fs::create_dir_all(&inner).unwrap();
        fs::write(outer.join("pids.max"), "100\n").unwrap();
        fs::write(inner.join("pids.max"), "max\n").unwrap();
        assert_eq!(least_tasks(&inner), Some(100));
        assert_eq!(least_tasks(root.path()), None);
    }

    #[test]
    fn groups_are_of_use_with_both_controllers_and_the_right_to_write() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("server");
        fs::create_dir(&own).unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert!(usable(&own).unwrap_err().ends_with("has no controller `pids`"));
        fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        assert!(usable(&own).unwrap_err().contains("cgroup.subtree_control"));
        fs::write(root.path().join("cgroup.subtree_control"), "").unwrap();
        assert_eq!(usable(&own), Ok(()));
    }
}
