//! The first start as a person at a terminal sees it, on a real pseudo-terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{frontdesk, output};
use crate::harness::{signal, until};

/// A program on a terminal of its own; ended when dropped.
struct OnTerminal {
    child: Child,
    screen: BufReader<File>,
}

impl OnTerminal {
    fn start(command: &mut Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let child = command.stdin(Stdio::null()).stdout(other()).stderr(other()).spawn().unwrap();
        Self { child, screen: BufReader::new(File::from(terminal)) }
    }

    /// Reads the screen up to and with the line that holds this.
    fn read_until(&mut self, last: &str) -> String {
        let mut text = String::new();
        while !text.contains(last) {
            let read = self.screen.read_line(&mut text).unwrap_or(0);
            assert!(read > 0, "no {last:?} in {text}");
        }
        text.replace('\r', "")
    }

    fn end(mut self) {
        signal(self.child.id(), Signal::TERM);
        // A terminal that nobody reads may hold the server up.
        std::thread::spawn(move || std::io::copy(&mut self.screen.by_ref(), &mut std::io::sink()));
        assert!(self.child.wait().unwrap().success());
    }
}

fn serve(directory: &Path) -> Command {
    let mut command = frontdesk();
    command.current_dir(directory).args(["--listen", "127.0.0.1:0"]).env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

/// The indented lines under the invitation, as somebody would paste them.
fn commands(screen: &str) -> String {
    let (_, after) = screen.split_once("Try it in another terminal").unwrap();
    after.lines().filter(|line| line.starts_with("  ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_three_commands_of_the_first_start_paste_and_work() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = OnTerminal::start(serve(directory.path()).env("NO_COLOR", "1"));
    let screen = server.read_until("Ctrl-C stops");
    assert!(!screen.contains('\u{1b}'), "{screen}");
    assert!(screen.contains("Try it in a browser: sign in at http://127.0.0.1:"), "{screen}");
    assert!(
        screen.contains("agents    trusted: they run as this user and could read this server's data\n"),
        "{screen}"
    );
    for shell in ["sh", "bash", "zsh"] {
        let script = format!(
            "set -e\n{}{} session status demo@example.com\n",
            commands(&screen),
            env!("CARGO_BIN_EXE_frontdesk")
        );
        // In a directory other than the server's, as a new terminal is.
        let mut shell_command = Command::new(shell);
        shell_command.args(["-c", &script]).current_dir("/");
        if shell != "sh" && Command::new(shell).arg("-c").arg(":").stdout(Stdio::null()).status().is_err() {
            continue;
        }
        let (code, printed, errors) = output(&mut shell_command, "");
        assert_eq!((code, errors.as_str()), (0, ""), "{script}");
        assert!(printed.contains(r#"{"echo":{"say": "hello"},"#), "{printed}");
        assert!(printed.ends_with("RUNNING\n"), "{printed}");
        stop_all(directory.path());
    }
    server.end();
}

fn stop_all(directory: &Path) {
    let run = |arguments: &[&str]| output(frontdesk().current_dir(directory).args(arguments), "").1;
    let listed: serde_json::Value = serde_json::from_str(&run(&["session", "list", "--json"])).unwrap();
    run(&["session", "stop", "--force", listed["id"].as_str().unwrap()]);
    until("the session has ended", || run(&["session", "list"]).is_empty());
}

#[test]
fn the_message_is_coloured_fits_eighty_columns_and_is_shorter_the_second_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = OnTerminal::start(&mut serve(directory.path()));
    let screen = first.read_until("Ctrl-C stops");
    assert!(screen.contains("\u{1b}[1m\u{1b}[32mFrontdesk is ready\u{1b}[0m"), "{screen}");
    let plain = anstream::adapter::strip_str(&screen).to_string();
    let facts: Vec<_> = plain.lines().filter(|line| line.starts_with("  ") && !line.contains('/')).collect();
    assert!(facts.iter().all(|line| line.chars().count() <= 80), "{plain}");
    first.end();
    assert!(!directory.path().join("frontdesk-data/demo-password").exists());

    let mut second = OnTerminal::start(&mut serve(directory.path()));
    let screen = second.read_until("Ctrl-C stops");
    assert!(screen.contains("personas") && !screen.contains("demo@example.com"), "{screen}");
    second.end();
}

#[test]
fn a_first_start_that_fails_at_the_port_leaves_the_directory_new() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = output(frontdesk().current_dir(directory.path()).args(["serve", "--listen", &address]), "");
    let said = format!("error: {address} is taken; stop what listens there, or choose another address with --listen\n");
    assert_eq!(refused, (1, String::new(), said));

    let mut server = OnTerminal::start(&mut serve(directory.path()));
    let screen = server.read_until("Ctrl-C stops");
    assert!(screen.contains("demo@example.com, password"), "{screen}");
    let second = output(serve(directory.path()).arg("--log-format=text"), "");
    assert_eq!(second.0, 1);
    assert!(second.2.contains("frontdesk-data is in use by another frontdesk (process "), "{}", second.2);
    assert!(second.2.ends_with("; stop that one, or choose another directory with --data-dir\n"), "{}", second.2);
    server.end();
}

#[test]
fn a_server_that_is_configured_makes_no_demo_customer() {
    for (config, variable) in [("page.enabled = false", ("NOTHING", "")), ("", ("FRONTDESK_LIMITS__MAX_RUNNING", "10"))]
    {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("frontdesk.toml"), config).unwrap();
        let mut server = OnTerminal::start(serve(directory.path()).env(variable.0, variable.1));
        let screen = server.read_until("Ctrl-C stops");
        assert!(screen.contains("Add your first customer: ") && !screen.contains("demo@example.com"), "{screen}");
        let listed = output(frontdesk().current_dir(directory.path()).args(["customer", "list"]), "");
        assert_eq!((listed.0, listed.1.as_str()), (0, ""), "{listed:?}");
        server.end();
    }
}

#[test]
fn a_first_start_without_a_terminal_keeps_the_demo_customers_password_to_its_own_user() {
    use std::os::unix::fs::PermissionsExt;
    let server = crate::harness::Server::start(crate::harness::Setup::default());
    let password = std::fs::metadata(server.data_dir().join("demo-password")).unwrap();
    assert_eq!(password.permissions().mode() & 0o777, 0o600);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_first_start_that_was_killed_at_any_commit_leaves_a_password_that_opens_a_session() {
    use crate::harness::{Server, Setup};
    let mut deaths = 0;
    for failpoint in ["before-commit", "after-commit", "before-answer"] {
        for nth in 1..=3 {
            let setup = Setup::default().env("FRONTDESK_FAILPOINT", &format!("{failpoint}=kill@{nth}"));
            let (mut server, was_ready) = Server::start_first(setup);
            deaths += usize::from(!was_ready);
            if was_ready {
                server.kill();
            }
            server.setup.environment.clear();
            server.start_again();
            let password = std::fs::read_to_string(server.data_dir().join("demo-password")).unwrap();
            let created = server.create(("demo@example.com", password.trim()), serde_json::json!({}));
            assert_eq!(created.status, 200, "{failpoint}@{nth}");
        }
    }
    assert!(deaths >= 6, "{deaths}");
}
