//! The launcher and its shims, spoken to as a server speaks to them.

use std::time::Duration;

use frontdesk::id::Epoch;
use frontdesk::shim::launch::{Launch, WrittenOrder};
use frontdesk::shim::order::{Order, User};
use frontdesk::shim::wire::{End, Header, How, Kind};
use rustix::process::Signal;

use crate::harness::{signal, until};

mod rig;
use rig::{Rig, Server, is_alive};

const SECRET: [u8; 32] = [7; 32];

#[test]
fn an_agent_answers_over_its_shim_and_its_end_is_told() {
    let rig = Rig::start();
    let (mut server, welcome) = rig.agent("cat; exit 3");
    assert!(is_alive(welcome.pid));
    assert_eq!((welcome.last_call, welcome.acknowledged), (0, 0));

    server.say(Kind::Deliver, 1, b"hello\n");
    assert_eq!(server.line(0), "hello\n");
    server.say(Kind::Stop, 10_000_000, b"");

    let shutdown = "{\"jsonrpc\":\"2.0\",\"method\":\"shutdown\",\"params\":{}}\n";
    assert_eq!(server.line(6), shutdown);
    let total = 6 + shutdown.len() as u64;
    assert_eq!(server.until(Kind::Closed).0, total);
    assert_eq!(server.end(), (total, End { how: How::Exited(3), because: None, last_begun: Some(1) }));
    server.say(Kind::Acknowledge, u64::MAX, b"");
    assert!(server.next().is_none());
    rig.await_leave();
    assert_eq!(rig.place.end().unwrap().unwrap().last_call, 1);
}

#[test]
fn an_agent_gets_its_arguments_its_environment_its_directory_and_its_descriptors_and_nothing_else() {
    let rig = Rig::start();
    let mut order = rig.order("pwd; echo $#$1; env | grep -v -e ^PATH= -e ^_= -e ^PWD= -e ^OLDPWD= -e ^SHLVL=; ulimit -n; umask; ls /proc/self/fd | wc -l; echo end");
    order.arguments.extend(["zero", "one"].map(Into::into));
    order.environment.insert("SHELF".into(), "top".into());
    order.descriptors = Some((200, 300));
    let mut server = rig.launch(&order);
    server.welcome();
    let mut text = String::new();
    while !text.ends_with("end\n") {
        text.push_str(&server.line(text.len() as u64));
    }
    let work = rig.place.work().canonicalize().unwrap();
    let own = std::process::Command::new("sh").args(["-c", "ls /proc/self/fd | wc -l"]).output().unwrap().stdout;
    let own = String::from_utf8(own).unwrap();
    assert_eq!(text, format!("{}\n1one\nSHELF=top\n200\n{:04o}\n{own}end\n", work.display(), umask()));
}

#[test]
fn what_can_not_be_started_says_why() {
    let rig = Rig::start();
    let mut order = rig.order("");
    order.program = Some("no-such-program".into());
    order.arguments = vec!["no-such-program".into()];
    let why = not_started(&rig, &order);
    assert_eq!(why, "its command \"no-such-program\" could not be started: No such file or directory (os error 2)");

    let mut order = rig.order("true");
    order.working_directory = Some("/no/such/place".into());
    assert_eq!(not_started(&rig, &order), "its working_directory /no/such/place is no directory");
}

#[test]
fn an_agent_that_does_not_speak_has_no_stdin_and_its_stdout_is_part_of_its_log() {
    let rig = Rig::start();
    let mut order = rig.order("cat; echo out; echo err >&2; exit 4");
    order.speaks = false;
    let mut server = rig.launch(&order);
    assert_eq!(server.end(), (0, End { how: How::Exited(4), because: None, last_begun: Some(0) }));
    assert_eq!(std::fs::read_to_string(rig.place.log()).unwrap(), "--- agent 1 ---\nout\nerr\n");
}

#[test]
fn what_no_server_has_acknowledged_is_said_again_to_the_next() {
    let rig = Rig::start();
    let (mut server, first) = rig.agent("cat");
    server.deliver(1, "one\n");
    server.deliver(2, "two\n");
    drop(server);

    let mut second = rig.connect(SECRET);
    let welcome = second.welcome();
    assert_eq!((welcome.pid, welcome.last_call, welcome.acknowledged), (first.pid, 2, 0));
    assert_eq!(second.output(0, 8), b"one\ntwo\n");
    second.say(Kind::Acknowledge, 4, b"");
    second.deliver(3, "three\n");
    drop(second);

    let mut third = rig.connect(SECRET);
    assert_eq!(third.welcome().acknowledged, 4);
    assert_eq!(third.output(4, 10), b"two\nthree\n");
}

#[test]
fn a_newer_connection_takes_the_place_of_the_older() {
    let rig = Rig::start();
    let (mut first, _) = rig.agent("cat");
    let mut second = rig.connect(SECRET);
    second.welcome();
    assert!(first.next().is_none());
    second.say(Kind::Deliver, 1, b"hello\n");
    assert_eq!(second.line(0), "hello\n");
}

#[test]
fn a_call_is_given_to_the_agent_at_most_once() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat");
    server.deliver(1, "once\n");
    server.deliver(1, "twice\n");
    drop(server);
    let mut server = rig.connect(SECRET);
    server.welcome();
    server.say(Kind::Deliver, 1, b"thrice\n");
    server.say(Kind::Deliver, 2, b"next\n");
    assert_eq!(server.output(0, 10), b"once\nnext\n");
}

#[test]
fn a_line_cut_short_by_the_end_of_its_server_never_reaches_the_agent() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat");
    let line = vec![b'x'; 200_000];
    server.say_raw(&Header::new(Kind::Deliver, 1, &line).to_bytes());
    server.say_raw(&line[..150_000]);
    drop(server);
    let mut server = rig.connect(SECRET);
    assert_eq!(server.welcome().last_call, 0);
    server.say(Kind::Deliver, 1, b"whole\n");
    assert_eq!(server.line(0), "whole\n");
}

#[test]
fn a_line_that_has_come_completely_reaches_the_agent_even_if_its_server_is_gone() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("while [ ! -e go ]; do sleep 0.01; done; wc -c; exit 5");
    let mut line = vec![b'x'; 300_000];
    line.push(b'\n');
    server.say(Kind::Deliver, 1, &line);
    // A call that is repeated is answered at once: then the first has come.
    server.deliver(1, "again\n");
    drop(server);
    let mut server = rig.connect(SECRET);
    assert_eq!(server.welcome().last_call, 1);
    std::fs::write(rig.place.work().join("go"), "").unwrap();
    // The next server's line waits behind it, and its stdin closes behind that.
    server.deliver(2, "y\n");
    server.say(Kind::Stop, 60_000_000, b"");
    assert!(server.line(0).trim().parse::<u64>().unwrap() > 300_003);
}

#[test]
fn a_line_of_twenty_megabytes_goes_both_ways_through_a_small_shim() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat");
    let mut line = vec![b'x'; 20 << 20];
    line.push(b'\n');
    server.say(Kind::Deliver, 1, &line);
    assert!(server.output(0, line.len()) == line);
    let shim = rig.shims()[0];
    let kib = own_kib(shim);
    assert!((1..1_024).contains(&kib), "{kib} KiB");
}

#[test]
fn a_long_line_that_can_not_be_kept_is_refused_and_the_connection_goes_on() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat");
    let in_its_way = rig.place.root().join("line");
    std::fs::create_dir(&in_its_way).unwrap();
    let mut line = vec![b'x'; 300_000];
    line.push(b'\n');
    server.say(Kind::Deliver, 1, &line);
    let (number, why) = server.until(Kind::Refused);
    let why = String::from_utf8(why).unwrap();
    assert_eq!(number, 1);
    assert!(why.ends_with("could not be kept in a file: Is a directory (os error 21)"), "{why}");
    assert!(std::fs::read_to_string(rig.place.log()).unwrap().contains(&why));

    server.deliver(2, "short\n");
    assert_eq!(server.output(0, 6), b"short\n");
    // A call that the agent has is not refused, whatever becomes of its repetition.
    server.say(Kind::Deliver, 2, &line);
    assert_eq!(server.until(Kind::Taken).0, 2);
    std::fs::remove_dir(in_its_way).unwrap();
    server.say(Kind::Deliver, 3, &line);
    assert!(server.output(6, line.len()) == line);
}

#[test]
fn a_long_line_for_which_the_disk_has_no_room_is_refused_and_the_connection_goes_on() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat");
    std::os::unix::fs::symlink("/dev/full", rig.place.root().join("line")).unwrap();
    server.say(Kind::Deliver, 1, &[b'x'; 300_000]);
    let (number, why) = server.until(Kind::Refused);
    let why = String::from_utf8(why).unwrap();
    assert_eq!(number, 1);
    assert!(why.ends_with("No space left on device (os error 28)"), "{why}");
    server.deliver(2, "short\n");
    assert_eq!(server.output(0, 6), b"short\n");
}

#[test]
fn a_refused_call_may_be_delivered_again() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat");
    let in_its_way = rig.place.root().join("line");
    std::fs::create_dir(&in_its_way).unwrap();
    server.say(Kind::Deliver, 1, &[b'x'; 100_000]);
    assert_eq!(server.until(Kind::Refused).0, 1);
    drop(server);
    let mut server = rig.connect(SECRET);
    assert_eq!(server.welcome().last_call, 0);
    server.deliver(1, "shorter\n");
    assert_eq!(server.output(0, 8), b"shorter\n");
}

#[test]
fn an_agent_waits_when_its_spool_is_full() {
    let rig = Rig::start();
    let mut order = rig.order("yes");
    order.spool_bytes = 100_000;
    let mut server = rig.launch(&order);
    server.welcome();
    assert_eq!(server.output(0, 100_000).len(), 100_000);
    server.deliver(1, "not read\n");
    assert_eq!(rig.place.spool().metadata().unwrap().len(), 100_000);
    server.say(Kind::Acknowledge, 60_000, b"");
    assert_eq!(server.output(100_000, 60_000).len(), 60_000);
}

#[test]
fn a_server_that_does_not_wait_for_taken_is_cut_off_and_a_stop_never_waits() {
    let rig = Rig::start();
    let (mut server, welcome) = rig.agent("exec sleep 1000");
    let line = vec![b'x'; 1 << 20];
    server.say(Kind::Deliver, 1, &line);
    server.say(Kind::Deliver, 2, &line);
    assert!(server.next().is_none());
    let mut server = rig.connect(SECRET);
    assert_eq!(server.welcome().last_call, 1);
    server.say(Kind::Deliver, 2, &line);
    server.say(Kind::Stop, 0, b"");
    assert_eq!(server.end(), (0, End { how: How::Signaled(9), because: None, last_begun: Some(1) }));
    assert!(!is_alive(welcome.pid));
}

#[test]
fn who_does_not_know_the_secret_is_not_let_in() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat");
    assert!(rig.connect([8; 32]).next().is_none());
    server.say(Kind::Deliver, 1, b"still here\n");
    assert_eq!(server.line(0), "still here\n");
}

#[test]
fn an_agent_of_another_epoch_than_the_one_that_may_act_is_not_started() {
    let rig = Rig::start();
    let order = rig.order("cat");
    rig.allow(2);
    assert_eq!(not_started(&rig, &order), "a newer agent of the session was started");
    assert!(rig.place.end().unwrap().is_none());
}

#[test]
fn while_another_has_the_lock_nothing_is_started() {
    let rig = Rig::start();
    let order = rig.order("touch started");
    let _held = rig.place.lock(frontdesk::id::Epoch(9), 0).unwrap().unwrap();
    assert_eq!(not_started(&rig, &order), "the agent before it has not ended");
    assert!(!rig.place.work().exists());
}

#[test]
fn nothing_is_left_of_an_agent_whose_directory_turns_out_unusable() {
    let rig = Rig::start();
    let mut order = rig.order("sleep 1003 & setsid sleep 1004");
    let mark = format!("SHIM_TEST_MARK={}", rig.above().display());
    order.environment.insert("SHIM_TEST_MARK".into(), rig.above().into());
    std::fs::create_dir(rig.place.root().join("socket")).unwrap();
    let why = not_started(&rig, &order);
    assert!(why.ends_with("can't be used: Is a directory (os error 21)"), "{why}");
    assert_eq!(carriers(&mark), 0);
    rig.await_leave();
}

#[test]
fn nothing_is_left_of_an_agent_whatever_its_processes_do() {
    let rig = Rig::start();
    let script = "trap '' TERM HUP
        setsid sh -c 'trap \"\" TERM; sleep 1001 & (sleep 1002 &) ; kill -STOP $$' &
        (setsid sh -c '(while :; do sh -c \"sleep 0.01\"; done) &' &)
        echo ready; while :; do sleep 1; done";
    let mut order = rig.order(script);
    let mark = format!("SHIM_TEST_MARK={}", rig.above().display());
    order.environment.insert("SHIM_TEST_MARK".into(), rig.above().into());
    let mut server = rig.launch(&order);
    server.welcome();
    assert_eq!(server.line(0), "ready\n");
    until("all of its processes", || carriers(&mark) >= 5);
    server.say(Kind::Stop, 200_000, b"");
    assert_eq!(server.end().1.how, How::Signaled(9));
    assert_eq!(carriers(&mark), 0);
}

#[test]
fn what_an_agent_leaves_behind_ends_with_it_and_its_last_words_are_kept() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("sleep 1000 & echo last words; exit 6");
    assert_eq!(server.line(0), "last words\n");
    assert_eq!(server.end(), (11, End { how: How::Exited(6), because: None, last_begun: Some(0) }));
}

#[test]
fn an_agent_without_a_server_is_ended_after_a_while() {
    let rig = Rig::start();
    let mut order = rig.order("cat");
    order.orphan_timeout = Duration::from_millis(50);
    let mut server = rig.launch(&order);
    server.welcome();
    drop(server);
    rig.await_leave();
    let end = rig.place.end().unwrap().unwrap().end;
    assert_eq!(end, End { how: How::Exited(0), because: Some("no server for 50ms".into()), last_begun: Some(0) });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test made the directory, and nothing in it is deep")]
fn an_agent_whose_directory_is_gone_is_ended() {
    let rig = Rig::start();
    let (mut server, welcome) = rig.agent("exec sleep 1000");
    std::fs::remove_dir_all(rig.place.root()).unwrap();
    let because = Some("its directory is gone".into());
    assert_eq!(server.end(), (0, End { how: How::Signaled(9), because, last_begun: Some(0) }));
    assert!(!is_alive(welcome.pid));
}

#[test]
fn the_end_of_an_agent_that_ended_without_a_server_is_noted() {
    let rig = Rig::start();
    let (server, _) = rig.agent("while [ ! -e go ]; do sleep 0.01; done; echo bye; exit 7");
    drop(server);
    std::fs::write(rig.place.work().join("go"), "").unwrap();
    rig.await_leave();
    let record = rig.place.end().unwrap().unwrap();
    assert_eq!((record.end.how, record.acknowledged), (How::Exited(7), 0));
    assert_eq!(std::fs::read_to_string(rig.place.spool()).unwrap(), "bye\n");
}

#[test]
fn an_agent_does_not_outlive_its_shim() {
    let rig = Rig::start();
    let (_server, welcome) = rig.agent("exec sleep 1000");
    signal(rig.shims()[0], Signal::KILL);
    until("the agent's end", || !is_alive(welcome.pid));
}

#[test]
fn a_shim_that_is_told_to_end_ends_its_agent_first() {
    let rig = Rig::start();
    let (mut server, _) = rig.agent("cat >/dev/null; exit 8");
    let shim = rig.shims()[0];
    signal(shim, Signal::HUP);
    signal(shim, Signal::TERM);
    let because = Some("its shim was told to end by a signal".into());
    assert_eq!(server.end(), (0, End { how: How::Exited(8), because, last_begun: Some(0) }));
}

#[test]
fn shims_outlive_their_launcher() {
    let mut rig = Rig::start();
    let (mut server, welcome) = rig.agent("cat");
    rig.launcher.kill().unwrap();
    rig.launcher.wait().unwrap();
    server.say(Kind::Deliver, 1, b"still here\n");
    assert_eq!(server.line(0), "still here\n");
    server.say(Kind::Stop, 0, b"");
    server.end();
    assert!(!is_alive(welcome.pid));
}

#[test]
fn shims_without_an_order_are_there_ahead_of_it_and_end_with_their_launcher() {
    let mut rig = Rig::start();
    until("a few wait for an order", || rig.spares().len() == 2);
    let spares = rig.spares();
    let (_server, welcome) = rig.agent("exec sleep 1000");
    assert!(spares.contains(&rig.shims()[0]));
    until("another has taken its place", || rig.spares().len() == 2);

    let left = [spares, rig.spares()].concat();
    let shim = rig.shims()[0];
    rig.launcher.kill().unwrap();
    rig.launcher.wait().unwrap();

    until("only the shim with an agent is left", || left.iter().all(|pid| *pid == shim || !is_alive(*pid)));
    assert!(is_alive(shim) && is_alive(welcome.pid));
}

#[test]
fn a_shim_that_dies_without_an_order_is_replaced_and_no_order_is_lost() {
    let rig = Rig::start();
    until("a few wait for an order", || rig.spares().len() == 2);
    for spare in rig.spares() {
        signal(spare, Signal::KILL);
        until("its end", || !is_alive(spare));
    }
    let (mut server, _) = rig.agent("cat");
    server.say(Kind::Deliver, 1, b"hello\n");
    assert_eq!(server.line(0), "hello\n");
}

#[test]
fn shims_without_an_order_and_their_launcher_end_with_the_server() {
    let mut rig = Rig::start();
    until("a few wait for an order", || rig.spares().len() == 2);
    let spares = rig.spares();
    rig.hang_up();
    assert!(rig.launcher.wait().unwrap().success());
    until("their end", || spares.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_burst_of_orders_beyond_those_that_wait_is_served_to_the_last() {
    let rig = Rig::start();
    let order = rig.order("exec sleep 1000");
    let sessions: Vec<_> = (0..12).map(|number| rig.another_place(number)).collect();
    let orders = sessions.iter().map(|place| Order { directory: place.root().to_owned(), ..order.clone() });
    let mut servers: Vec<_> = orders.map(|order| rig.launch(&order)).collect();
    for server in &mut servers {
        server.welcome();
    }
    assert_eq!(rig.shims().len(), sessions.len());
    until("more wait for the next burst", || rig.spares().len() > 2);
}

#[test]
fn a_message_that_is_no_order_harms_nobody_else() {
    let rig = Rig::start();
    rig.launch_text(b"{}").end();
    let (mut server, _) = rig.agent("cat");
    server.say(Kind::Deliver, 1, b"hello\n");
    assert_eq!(server.line(0), "hello\n");
}

#[test]
fn an_agent_runs_as_another_user_and_still_ends_with_its_shim() {
    assert!(rustix::process::geteuid().is_root(), "only root may become another user");
    let rig = Rig::start();
    let mut order =
        rig.order("id -u; id -g; id -G; echo > own && echo made; grep NoNewPrivs /proc/self/status; exec sleep 1000");
    order.user = Some(User { uid: 65_533, gid: 65_532, groups: vec![65_532, 65_531], is_own: false });
    let mut server = rig.launch(&order);
    let welcome = server.welcome();
    let said = "65533\n65532\n65532 65531\nmade\nNoNewPrivs:\t1\n";
    assert_eq!(String::from_utf8(server.output(0, said.len())).unwrap(), said);
    signal(rig.shims()[0], Signal::KILL);
    until("the agent's end", || !is_alive(welcome.pid));
}

#[test]
fn a_server_that_finds_its_launcher_gone_starts_another() {
    let rig = Rig::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let launch = Launch::of(env!("CARGO_BIN_EXE_frontdesk").as_ref());
        for epoch in 1..=2 {
            rig.allow(epoch);
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let order = Order { epoch: Epoch(epoch), ..rig.order("cat") };
            rig.allow(epoch);
            launch.send(&WrittenOrder::new(&order).unwrap(), theirs.into()).await.unwrap();
            let mut server = Server::new(ours);
            assert_eq!(server.next().unwrap().0, Kind::Welcome);
            let launcher = launch.pid().await.unwrap();
            signal(launcher, Signal::KILL);
            until("the launcher's end", || !is_alive(launcher));
            server.say(Kind::Stop, 0, b"");
            server.end();
            drop(server);
            rig.await_leave();
        }
    });
}

#[cfg(feature = "failpoints")]
#[test]
fn what_a_killed_shim_has_not_said_is_in_its_spool() {
    let rig = Rig::start_with(&[("FRONTDESK_FAILPOINT", "shim-after-spool=kill".into())]);
    let (mut server, welcome) = rig.agent("read line; echo last words; exec sleep 1000");
    server.deliver(1, "now\n");
    assert!(server.next().is_none());
    until("the agent's end", || !is_alive(welcome.pid));
    assert_eq!(std::fs::read_to_string(rig.place.spool()).unwrap(), "last words\n");
    assert!(!rig.place.is_held().unwrap());
}

#[cfg(feature = "failpoints")]
#[test]
fn an_agent_is_not_started_if_another_is_allowed_to_act_at_the_last_moment() {
    let directory = tempfile::tempdir().unwrap();
    let (armed, resume) = (directory.path().join("armed"), directory.path().join("resume"));
    std::fs::write(&armed, "").unwrap();
    let rig = Rig::start_with(&[
        ("FRONTDESK_FAILPOINT", "shim-before-lock=pause".into()),
        ("FRONTDESK_FAILPOINT_WHEN", armed.clone().into()),
        ("FRONTDESK_FAILPOINT_RESUME", resume.clone().into()),
    ]);
    let mut server = rig.launch(&rig.order("touch started"));
    until("the shim to wait", || !armed.exists());
    rig.allow(2);
    std::fs::write(&resume, "").unwrap();
    let why = How::NotStarted("a newer agent of the session was started".into());
    assert_eq!(server.end(), (0, End { how: why, because: None, last_begun: Some(0) }));
    assert!(!rig.place.work().exists());
}

fn not_started(rig: &Rig, order: &Order) -> String {
    let mut server = rig.launch(order);
    let (_, end) = server.end();
    drop(server);
    let How::NotStarted(why) = end.how else { panic!("it ended: {:?}", end.how) };
    why
}

/// Memory that belongs to no file. A debug build's relocations, which a shim shares with its launcher, do not count.
fn own_kib(pid: u32) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut total, mut is_of_file) = (0, false);
    for fields in smaps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        match fields[..] {
            ["Anonymous:", kib, "kB"] if !is_of_file => total += kib.parse::<u64>().unwrap(),
            [range, _, _, _, inode, ..] if range.contains('-') => is_of_file = inode != "0",
            _ => {}
        }
    }
    total
}

/// The processes with this variable in their environment.
fn carriers(variable: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environments.filter(|text| text.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())).count()
}

fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}
