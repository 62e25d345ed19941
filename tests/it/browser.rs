//! The pages in a real browser: what a person does there, by keyboard alone, with axe-core looking on. The walks
//! themselves are in tests/browser; they fail at anything that a browser complains of.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use frontdesk::principal::Scope;
use serde_json::json;

use crate::desk::{BOB, persona};
use crate::harness::{ADA, Server, Setup, repository, until};
use crate::operators::Operated;
use crate::v1_sessions::{Opened, create};

const CARL: (&str, &str) = ("carl@example.org", "a horse of another colour");

#[test]
fn a_customer_signs_in_talks_to_an_agent_over_a_restart_and_ends_the_session() {
    let script = repository().join("tests/it/agents/parts.py");
    let command = json!(["python3", "-u", script]).to_string();
    let config = [persona("PARTS", &command, ""), persona("OTHERS", r#"["frontdesk", "agent", "echo"]"#, "")].concat();
    let setup = Setup { keeps_address: true, ..Setup::with_config(&config) };
    let mut server = Server::start(setup);
    server.add_customer(ADA);

    walk("customers.mjs", &mut server, &[("FRONTDESK_EMAIL", ADA.0), ("FRONTDESK_PASSWORD", ADA.1)]);
}

#[test]
fn an_operator_signs_in_follows_a_session_asks_its_agent_and_kills_it() {
    let echo = r#"["frontdesk", "agent", "echo"]"#;
    let broken = r#"["sh", "-c", "echo no licence >&2; exit 4"]"#;
    let config = [persona("CUSTOMERS", echo, ""), persona("BROKEN", broken, "start_attempts = 1\n")].concat();
    let mut desk = Operated::new(Setup::with_config(&config));
    let request = |(email, password): (&str, &str), persona: &str| {
        Opened::of(&create(&desk.server, &[], &json!({"email": email, "password": password, "persona": persona})))
    };
    for customer in [BOB, CARL] {
        desk.server.add_customer(customer);
    }
    request(ADA, "CUSTOMERS");
    assert_eq!(request(BOB, "CUSTOMERS").initialise(&desk.server).status, 200);
    assert_eq!(request(CARL, "BROKEN").initialise(&desk.server).status, 502);
    let token = desk.token(Scope::Admin).to_owned();

    walk("console.mjs", &mut desk.server, &[("FRONTDESK_EMAIL", ADA.0), ("FRONTDESK_TOKEN", &token)]);
}

/// Takes a walk on this server's pages, and does what it asks for.
fn walk(script: &str, server: &mut Server, environment: &[(&str, &str)]) {
    let mut node = Command::new("node")
        .arg(repository().join("tests/browser").join(script))
        .env("FRONTDESK_URL", format!("http://{}/", server.address))
        .env("FRONTDESK_DIRECTORY", server.directory())
        .env("CHROMIUM", chromium())
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("./test installs node");
    let (mut deeds, mut errors) = (node.stdin.take().unwrap(), node.stderr.take().unwrap());
    // Read aside, so that a long complaint holds nothing up.
    let complaint = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    for line in BufReader::new(node.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let deed = line.strip_prefix("do: ").unwrap_or_else(|| panic!("the walk said {line:?}"));
        match deed.strip_prefix("wait for ") {
            Some(file) => until(file, || server.path(file).exists()),
            None if deed == "restart the server" => {
                server.terminate();
                server.start_again();
            }
            None if deed == "kill the agent" => server.kill_agents(),
            None => panic!("the walk wants what nobody can do: {deed:?}"),
        }
        writeln!(deeds, "done: {deed}").unwrap();
    }
    let status = node.wait().unwrap();
    assert!(status.success(), "{}\n{:?}", complaint.join().unwrap().unwrap(), server.log_lines());
}

/// The browser, once everything else that the walks need is there, too.
fn chromium() -> PathBuf {
    let browser = PathBuf::from("/usr/bin/chromium");
    let is_complete = browser.exists() && repository().join("target/browser/node_modules").exists();
    assert!(is_complete, "the browser or what drives it is missing: run ./test once, which installs both");
    browser
}
