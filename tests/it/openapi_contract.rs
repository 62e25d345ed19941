//! The document of the interface, held against a running server by schemathesis: whatever fits the document is taken,
//! whatever doesn't is refused, and every answer is one that the document has.

use std::process::{Command, Stdio};

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::desk::{BOB, persona};
use crate::harness::{ADA, Setup, repository};
use crate::operators::{Operated, items};
use crate::v1_sessions::{Opened, create};

const CARL: (&str, &str) = ("carl@example.org", "a horse of another colour");
const DORA: (&str, &str) = ("dora@example.org", "nothing but the truth");
const ECHO: &str = r#"["frontdesk", "agent", "echo"]"#;

/// A server with a session in every phase of interest.
struct Contract {
    desk: Operated,
    running: Opened,
    pending: Opened,
    stopped: Opened,
    ended: Opened,
}

#[test]
fn what_an_operator_may_call_is_as_the_document_says() {
    let contract = Contract::new();
    contract.hold(contract.desk.token(Scope::Admin));
}

#[test]
fn what_a_session_s_token_may_call_is_as_the_document_says() {
    let contract = Contract::new();
    contract.hold(&contract.running.token);
}

impl Contract {
    fn new() -> Self {
        let personas = ["CUSTOMERS", "OTHERS", "WAITING"].map(|name| persona(name, ECHO, "")).concat();
        // Thousands of calls come from one address and name few customers.
        let config = format!("{personas}[throttle]\nenabled = false\n");
        let desk = Operated::new(Setup::with_config(&config));
        for customer in [BOB, CARL, DORA] {
            desk.server.add_customer(customer);
        }
        let request = |(email, password): (&str, &str), persona: &str| {
            let body = json!({"email": email, "password": password, "persona": persona});
            Opened::of(&create(&desk.server, &[], &body))
        };
        let ended = request(DORA, "OTHERS");
        ended.end(&desk.server);
        let (running, pending) = (request(BOB, "CUSTOMERS"), request(DORA, "WAITING"));
        assert_eq!(running.initialise(&desk.server).status, 200);
        let stopped = request(CARL, "OTHERS");
        Self { desk, running, pending, stopped, ended }
    }

    /// Calls everything that the document has, by this token.
    fn hold(&self, token: &str) {
        let server = &self.desk.server;
        let before = std::fs::read_dir(repository().join("tests/schemathesis")).unwrap().count();
        let tokens = items(&self.desk.call(Scope::Admin, "GET", "/v1/tokens", &Value::Null));
        let revocable = tokens.iter().find(|token| token["name"] == "sessions:read").unwrap();
        let output = Command::new(repository().join("target/schemathesis/bin/schemathesis"))
            .arg("--config-file")
            .arg(repository().join("tests/schemathesis/schemathesis.toml"))
            .args(["run", "--no-color", &format!("http://{}/openapi.json", server.address)])
            .current_dir(server.directory())
            .envs([
                ("PYTHONPATH", repository().join("tests/schemathesis").to_str().unwrap()),
                ("PYTHONDONTWRITEBYTECODE", "1"),
                ("FRONTDESK_TOKEN", token),
                ("FRONTDESK_EMAIL", ADA.0),
                ("FRONTDESK_PASSWORD", ADA.1),
                ("FRONTDESK_RUNNING", &self.running.id),
                ("FRONTDESK_PENDING", &self.pending.id),
                ("FRONTDESK_STOPPED", &self.stopped.id),
                ("FRONTDESK_ENDED", &self.ended.id),
                ("FRONTDESK_TOKEN_ID", revocable["id"].as_str().unwrap()),
            ])
            .stdin(Stdio::null())
            .output()
            .expect("./test installs schemathesis");
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}{errors}{:?}", server.log_lines());
        let after = std::fs::read_dir(repository().join("tests/schemathesis")).unwrap().count();
        assert_eq!(before, after, "the tool has left something in the repository");
    }
}
