//! Where a server listens: on a Unix socket, on a socket that a service manager keeps, and where an agent has sat down.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use rustix::io::FdFlags;
use serde_json::{Value, json};

use crate::desk::{Desk, persona};
use crate::harness::{ADA, Answer, Server, Setup, percent, read_answer, repository, until};

fn on_unix_socket(config: &str) -> Server {
    let listen = Some("unix:frontdesk.sock".to_owned());
    Server::start(Setup { listen, ..Setup::with_config(config) })
}

/// Sends one request over the Unix socket of a server.
fn send(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = UnixStream::connect(server.path("frontdesk.sock")).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
        .unwrap();
    read_answer(&mut BufReader::new(stream)).unwrap()
}

#[test]
fn over_a_unix_socket_a_session_lives_its_whole_life_and_the_file_goes_with_the_server() {
    let mut server = on_unix_socket("[unix_socket]\nmode = '0600'\n");
    let file = server.path("frontdesk.sock");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    server.add_customer(ADA);
    let at = ["--server", "unix:frontdesk.sock"];
    let run = |arguments: &[&str], input: &str| {
        let (status, output, errors) = server.run(&[arguments, &at].concat(), input);
        assert!(status.success(), "{arguments:?}: {errors}");
        output.trim().to_owned()
    };
    let token = run(&["session", "request", ADA.0, "--password-stdin", "--token-only"], ADA.1);
    run(&["session", "initialize", ADA.0, "--token", &token], "");
    let answer = run(&["session", "send", ADA.0, "{\"say\": \"hello\"}", "--token", &token], "");
    assert!(answer.contains("hello"), "{answer}");
    run(&["session", "stop", ADA.0, "--token", &token], "");
    assert!(server.terminate().success());
    assert!(!file.exists());
}

#[test]
fn over_a_unix_socket_every_call_for_a_session_needs_its_token_and_the_proxy_is_believed() {
    let server = on_unix_socket("");
    let message = json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": ADA.0}).to_string();
    let status = send(&server, "GET", &format!("/sessionSTATUS?message={}", percent(&message)), "", "");
    assert_eq!(status.pair(), (401, "TOKEN_REQUIRED".into()));

    let guess = json!({"EMAIL": ADA.0, "PASSWORD": "bad", "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    let headers = "Content-Type: application/json\r\nX-Forwarded-For: 198.51.100.1, 192.0.2.7\r\n";
    assert_eq!(send(&server, "POST", "/requestSessionCreation", headers, &guess).status, 401);
    assert_eq!(server.await_log("credentials refused")["peer"], "192.0.2.7");
}

#[test]
fn the_socket_of_a_killed_server_is_replaced_and_that_of_a_running_one_is_not() {
    let mut server = on_unix_socket("");
    server.kill();
    assert!(server.path("frontdesk.sock").exists());
    server.start_again();
    let (status, _, errors) = server.run(&["serve", "--listen", "unix:frontdesk.sock", "--data-dir", "other"], "");
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("unix:frontdesk.sock is taken"), "{errors}");
    assert_eq!(send(&server, "GET", "/livez", "", "").status, 200);
}

/// Becomes the server with the socket that this process has opened, as a service manager does.
const HAND_OVER: &str = "import os, sys
descriptor, address, *command = sys.argv[1:]
os.dup2(int(descriptor), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
command[command.index('--listen') + 1] = address
os.execv(command[0], command)";

#[test]
fn a_socket_that_is_handed_over_loses_no_client_over_a_restart_and_no_agent_can_take_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    let address = listener.local_addr().unwrap();
    let descriptor = listener.as_raw_fd().to_string();
    let wrapper = ["python3", "-c", HAND_OVER, &descriptor, &address.to_string()].map(str::to_owned).to_vec();
    let mut server = Server::start(Setup { wrapper, ..Setup::default() });
    assert_eq!(server.address, address);
    server.add_customer(ADA);
    server.create(ADA, json!({}));
    assert_eq!(server.initialise(ADA.0).status, 200);
    let socket = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
    for pid in server.agents() {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        assert!(open.filter_map(|file| std::fs::read_link(file.path()).ok()).all(|file| file != socket), "agent {pid}");
    }
    assert!(listener_findings(&server).iter().all(|finding| finding["level"] != "warning"));

    server.kill();
    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(TcpListener::bind(address).is_err(), "somebody else can listen there");
    server.start_again();

    assert_eq!(read_answer(&mut BufReader::new(waiting)).unwrap().status, 200);
}

#[test]
fn a_socket_that_is_handed_over_has_to_be_the_one_that_the_configuration_names() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_frontdesk");
    let output = std::process::Command::new("python3")
        .args(["-c", HAND_OVER, &listener.as_raw_fd().to_string(), "127.0.0.1:1", binary, "serve", "--listen", "here"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("and `listen` is 127.0.0.1:1; write the same in both"), "{errors}");
}

fn listener_findings(server: &Server) -> Vec<Value> {
    let (_, output, _) = server.run(&["doctor", "--json"], "");
    let report: Value = serde_json::from_str(&output).unwrap();
    let findings = report["findings"].as_array().unwrap();
    findings.iter().filter(|finding| finding["about"] == "listener").cloned().collect()
}

#[test]
fn an_agent_that_listens_in_the_servers_place_is_ended_and_the_server_starts() {
    let script = repository().join("tests/it/agents/squatter.py");
    let mut desk = Desk::new(&persona("CUSTOMERS", &json!(["python3", script]).to_string(), ""));
    assert!(listener_findings(&desk.server).iter().any(|finding| finding["level"] == "warning"));
    let session = desk.open(ADA);
    let address = desk.server.address;
    assert_eq!(desk.ask(&session, &json!({"take": address.port()})).status, 200);
    let before = desk.server.agents();
    desk.server.setup.keeps_address = true;
    desk.server.kill();
    until("the agent listens in the server's place", || TcpStream::connect(address).is_ok());

    desk.server.start_again();

    assert_eq!(desk.server.address, address);
    until("another agent runs", || {
        let after = desk.server.agents();
        !after.is_empty() && after.iter().all(|pid| !before.contains(pid))
    });
    until("it answers", || desk.ask(&session, &json!({})).status == 200);
}

#[test]
fn a_strangers_program_in_the_servers_place_is_left_alone_and_told() {
    let mut server = Server::start(Setup { keeps_address: true, ..Setup::default() });
    let address = server.address;
    server.kill();
    let stranger = TcpListener::bind(address).unwrap();
    let (status, _, errors) = server.run(&["serve", "--listen", &address.to_string()], "");
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains(&format!("{address} is taken; stop what listens there")), "{errors}");
    assert!(stranger.local_addr().is_ok());
}
