//! What a server says when it is ready: to a person in a new data directory how to go on, to everybody else one line.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};

use crate::data_dir;
use crate::node::Node;

/// The customer that a new data directory has.
const DEMO_EMAIL: &str = "demo@example.com";

/// Greets, and makes the demo customer in a new data directory.
pub(super) async fn greet(node: &Node) -> Result<()> {
    let address = node.address()?;
    let data = node.data_dir().paths();
    tracing::info!(listen = %address, data = %data.root().display(), sessions = node.app.store.live_count(), "ready");
    let to_a_person = std::io::stdout().is_terminal();
    let password = if node.app.store.desk().is_new { Some(demo_customer(node).await?) } else { None };
    if let Some(password) = &password
        && !to_a_person
    {
        let path = data.demo_password();
        data_dir::write_private(&path, format!("{password}\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        tracing::info!(customer = DEMO_EMAIL, password_file = %path.display(), "demo customer added");
    }
    if to_a_person {
        anstream::println!("{}", message(node, &address.to_string(), password.as_deref()));
    }
    Ok(())
}

async fn demo_customer(node: &Node) -> Result<String> {
    let password = crate::token::readable_secret(&crate::random::bytes());
    node.embedded.add(DEMO_EMAIL, password.as_str().into()).await.context("cannot add the demo customer")?;
    Ok(password)
}

fn message(node: &Node, address: &str, password: Option<&str>) -> String {
    let (bold, dim, green) = (Style::new().bold(), Style::new().dimmed(), AnsiColor::Green.on_default().bold());
    let data = node.data_dir().paths().root().display();
    let personas: Vec<_> = node.app.config.personas.keys().map(ToString::to_string).collect();
    let mut text = format!("\n{green}Frontdesk is ready{green:#} at {bold}http://{address}{bold:#}\n");
    text.push_str(&format!("{dim}data      {dim:#}{data}\n"));
    text.push_str(&format!("{dim}personas  {dim:#}{}\n", personas.join(", ")));
    text.push_str(&format!("{dim}agents    {dim:#}trusted: they run as this user and could read this server's data\n"));
    if let Some(password) = password {
        text.push_str(&format!(
            "{dim}customer  {dim:#}{DEMO_EMAIL}, password {bold}{password}{bold:#} (shown this once)\n"
        ));
        text.push_str(&commands(address, password, bold, dim));
    }
    text.push_str(&format!("\n{dim}Ctrl-C stops the server and its agents.{dim:#}\n"));
    text
}

/// Three commands that take a new user from nothing to an agent's answer.
fn commands(address: &str, password: &str, bold: Style, dim: Style) -> String {
    format!(
        r#"
Try it in another terminal:

{dim}# ask for a session, and keep its token{dim:#}
{bold}TOKEN=$(curl -s http://{address}/requestSessionCreation -H 'Content-Type: application/json' -d '{{"EMAIL":"{DEMO_EMAIL}","PASSWORD":"{password}","PERSONA_TYPE":"CUSTOMERS","DATA":{{}}}}' | sed 's/.*"TOKEN":"\([^"]*\)".*/\1/'); echo "$TOKEN"{bold:#}

{dim}# start its agent{dim:#}
{bold}curl -s http://{address}/initializeSession -d '{{"EMAIL":"{DEMO_EMAIL}"}}'; echo{bold:#}

{dim}# ask the agent something{dim:#}
{bold}curl -s -X PUT http://{address}/handleSessionRequests -H "Authorization: Bearer $TOKEN" -d '{{"EMAIL":"{DEMO_EMAIL}","REQUEST":{{"say":"hello"}}}}'; echo{bold:#}
"#
    )
}
