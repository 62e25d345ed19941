//! The log is for people; that it can't be written is no reason to serve nobody.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::harness::{ADA, Server, Setup, try_send, until};

#[test]
fn a_server_whose_log_can_not_be_written_serves_on() {
    let mut stopped = Server::start(Setup::default());
    stopped.add_customer(ADA);
    stopped.terminate();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = stopped.command();
    command.args(["serve", "--listen", &address.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(full);
    let mut server = Ended(command.spawn().unwrap());
    until("it serves", || try_send(address, "GET", "/serverRunning", &[], b"").is_ok());

    let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    let headers = [("Content-Type", "application/json")];
    let created = try_send(address, "POST", "/requestSessionCreation", &headers, body.as_bytes()).unwrap();
    let email = json!({"EMAIL": ADA.0}).to_string();
    let initialised = try_send(address, "POST", "/initializeSession", &[], email.as_bytes()).unwrap();

    assert_eq!((created.status, initialised.status), (200, 200));
    assert!(server.0.try_wait().unwrap().is_none(), "it runs on");
}

/// A process that is killed when its value is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
