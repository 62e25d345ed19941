//! A client that a generator makes of `/openapi.json` works: every answer is read into the type that the document names.

use std::process::{Command, Output, Stdio};

use frontdesk::principal::Scope;

use crate::desk::persona;
use crate::harness::{ADA, Setup, repository};
use crate::operators::Operated;

#[test]
fn a_generated_client_walks_through_a_session() {
    let desk = Operated::new(Setup::with_config(&persona("CUSTOMERS", r#"["frontdesk", "agent", "echo"]"#, "")));
    let (tools, made) = (repository().join("target/generated_client/bin"), tempfile::tempdir().unwrap());
    let base = format!("http://{}", desk.server.address);
    let generator = Command::new(tools.join("openapi-python-client"))
        .args(["generate", "--fail-on-warning", "--meta", "none", "--url", &format!("{base}/openapi.json")])
        .arg("--output-path")
        .arg(made.path().join("desk"))
        .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
        .stdin(Stdio::null())
        .output()
        .expect("./test installs the generator");
    assert!(generator.status.success(), "{}", text(&generator));

    let walk = Command::new(tools.join("python"))
        .arg(repository().join("tests/generated_client/walk.py"))
        .arg(&base)
        .env("PYTHONPATH", made.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs([("EMAIL", ADA.0), ("PASSWORD", ADA.1), ("OPERATOR", desk.token(Scope::Admin))])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(walk.status.success(), "{}", text(&walk));
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
