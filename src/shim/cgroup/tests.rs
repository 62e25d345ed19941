use super::*;
use crate::clock::WallTime;

/// A directory tree that looks like a mounted hierarchy with the server in `path`.
struct Fake {
    root: tempfile::TempDir,
}

impl Fake {
    fn new(path: &str, mountinfo: &str) -> Self {
        let root = tempfile::Builder::new().prefix("with blank ").tempdir().unwrap();
        let fake = Self { root };
        fs::create_dir_all(fake.proc()).unwrap();
        fs::create_dir_all(fake.mount()).unwrap();
        fs::write(fake.proc().join("cgroup"), format!("1:cpu:/elsewhere\n0::{path}\n")).unwrap();
        let point = fake.mount().display().to_string().replace(' ', "\\040");
        fs::write(fake.proc().join("mountinfo"), mountinfo.replace("MOUNT", &point)).unwrap();
        fake
    }

    /// A directory of groups with these controllers, of which these are handed on.
    fn with(self, path: &str, controllers: &str, handed_on: &str) -> Self {
        let directory = self.mount().join(path);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cgroup.controllers"), format!("{controllers}\n")).unwrap();
        fs::write(directory.join("cgroup.subtree_control"), format!("{handed_on}\n")).unwrap();
        self
    }

    fn proc(&self) -> PathBuf {
        self.root.path().join("proc")
    }

    fn mount(&self) -> PathBuf {
        self.root.path().join("cgroup tree")
    }

    fn find(&self) -> Result<Parent, String> {
        Parent::find(&self.proc())
    }

    fn group(&self, limits: &Limits) -> Group {
        let session = SessionId::new(WallTime::from_unix_millis(1), [7; 10]);
        self.find().unwrap().group(session, limits).unwrap()
    }
}

const MOUNTINFO: &str = "22 1 8:1 / / rw,relatime - ext4 /dev/vda rw\n\
    31 22 0:28 / /sys/fs/cgroup/memory rw shared:4 - cgroup cgroup rw,memory\n\
    41 22 0:38 / MOUNT rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

fn delegated() -> Fake {
    Fake::new("/desk.service/server", MOUNTINFO).with("desk.service", "cpu memory pids", "memory pids")
}

#[test]
fn a_server_in_a_group_of_its_own_has_its_agents_beside_it() {
    let fake = delegated();
    assert_eq!(fake.find().unwrap().directory, fake.mount().join("desk.service"));
}

#[test]
fn a_server_in_any_other_group_has_its_agents_below_it() {
    let fake = Fake::new("/desk", MOUNTINFO).with("desk", "memory pids", "memory pids");
    assert_eq!(fake.find().unwrap().directory, fake.mount().join("desk"));
    let at_the_root = Fake::new("/", MOUNTINFO).with("", "memory pids", "memory pids");
    assert_eq!(at_the_root.find().unwrap().directory, at_the_root.mount());
}

#[test]
fn a_mount_that_shows_a_part_of_the_tree_is_understood() {
    let part = MOUNTINFO.replace("/ MOUNT", "/containers/one MOUNT");
    let fake = Fake::new("/containers/one/desk", &part).with("desk", "memory pids", "memory pids");
    assert_eq!(fake.find().unwrap().directory, fake.mount().join("desk"));
}

#[test]
fn what_is_not_yet_handed_on_is_switched_on() {
    let fake = Fake::new("/desk", MOUNTINFO).with("desk", "memory pids", "memory");
    fake.find().unwrap();
    assert_eq!(fs::read_to_string(fake.mount().join("desk/cgroup.subtree_control")).unwrap(), "+pids");
}

#[test]
fn where_groups_are_of_no_use_it_says_why() {
    let hybrid = Fake::new("/", MOUNTINFO).with("", "hugetlb", "");
    let why = format!("not usable: {} has no controller `memory`", hybrid.mount().display());
    assert_eq!(hybrid.find(), Err(why));

    let first_version = Fake::new("/", "31 22 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    assert_eq!(first_version.find(), Err("not usable: groups of version 2 are not mounted".to_owned()));

    let elsewhere = Fake::new("/", MOUNTINFO);
    fs::write(elsewhere.proc().join("cgroup"), "4:memory:/x\n").unwrap();
    assert_eq!(elsewhere.find(), Err("not usable: this process is in no group of version 2".to_owned()));

    let gone = Fake::new("/gone", MOUNTINFO);
    assert!(gone.find().unwrap_err().ends_with("gone/cgroup.controllers: No such file or directory (os error 2)"));
}

#[test]
fn an_agents_group_has_its_limits_and_nothing_else() {
    let limits = Limits { memory: Some(1 << 20), processes: Some(10), ..Limits::default() };
    let group = delegated_group(&limits);
    for (name, content) in
        [("memory.max", "1048576"), ("memory.oom.group", "1"), ("memory.swap.max", "0"), ("pids.max", "640")]
    {
        assert_eq!(group.1.read(name).as_deref(), Some(content), "{name}");
    }
    let unlimited = delegated_group(&Limits::default());
    assert_eq!(fs::read_dir(&unlimited.1.directory).unwrap().count(), 0);
}

#[test]
fn a_group_is_named_after_its_session_and_what_an_earlier_agent_left_there_is_gone() {
    let (fake, group) = delegated_group(&Limits::default());
    let name = group.directory.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("frontdesk-00000000-0001-"), "{name}");
    fs::create_dir(group.directory.join("left")).unwrap();
    assert_eq!(fake.group(&Limits::default()), group);
    assert_eq!(fs::read_dir(&group.directory).unwrap().count(), 0);
}

#[test]
fn the_kernels_figures_are_read() {
    let (_fake, group) = delegated_group(&Limits::default());
    assert_eq!((group.memory(), group.time(), group.ran_out_of_memory()), (None, None, false));
    group.write("memory.current", "4096\n").unwrap();
    group.write("cpu.stat", "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n").unwrap();
    group.write("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n").unwrap();
    assert_eq!((group.memory(), group.time()), (Some(4096), Some(Duration::from_millis(1_500))));
    assert!(!group.ran_out_of_memory());
    group.write("memory.events", "oom 1\noom_kill 2\n").unwrap();
    assert!(group.ran_out_of_memory());
}

#[test]
fn a_process_enters_and_all_are_killed_by_one_write_each() {
    let (_fake, group) = delegated_group(&Limits::default());
    group.enter().unwrap();
    group.kill().unwrap();
    assert_eq!((group.read("cgroup.procs").as_deref(), group.read("cgroup.kill").as_deref()), (Some("0"), Some("1")));
}

#[test]
fn a_group_is_removed_with_those_that_the_agent_made_in_it() {
    let (_fake, group) = delegated_group(&Limits::default());
    fs::create_dir_all(group.directory.join("own/further")).unwrap();
    group.remove().unwrap();
    assert!(!group.directory.exists());
}

fn delegated_group(limits: &Limits) -> (Fake, Group) {
    let fake = delegated();
    let group = fake.group(limits);
    (fake, group)
}
