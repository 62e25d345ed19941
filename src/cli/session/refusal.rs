//! The interface's refusals as sentences that say what to do next.

use crate::cli::Failure;
use crate::id::Printable;

use super::client::{Answer, quoted};

/// What a refusal is about.
pub(super) struct About<'a> {
    pub(super) email: &'a str,
    pub(super) persona: Option<&'a str>,
    pub(super) token: bool,
}

impl About<'_> {
    /// The sentence for a refusal by its name, `detail` being the server's own words.
    pub(super) fn failure(&self, answer: &Answer, message: &str, detail: Option<&str>) -> Failure {
        let detail = detail.map(|detail| Printable(detail).to_string()).unwrap_or_default();
        Failure::Failed(self.words(message, &detail, answer.retry_after.unwrap_or(1)))
    }

    fn words(&self, message: &str, detail: &str, seconds: u64) -> String {
        let (email, pasted) = (Printable(self.email), quoted(self.email));
        match message {
            "INVALID_EMAIL_OR_PASSWORD" => format!(
                "the email or the password is wrong, or {email} may not use this persona; `frontdesk customer passwd \
                 {pasted}` sets a new password"
            ),
            "TOKEN_REQUIRED" if self.token => format!(
                "the token is not that of {email}'s session, or no longer; ask for a fresh one with `frontdesk session \
                 request {pasted}`, and correct or unset FRONTDESK_TOKEN"
            ),
            "TOKEN_REQUIRED" => format!(
                "this needs the token of {email}'s session; set FRONTDESK_TOKEN to it, or ask for a fresh one with \
                 `frontdesk session request {pasted}`"
            ),
            "TOO_MANY_ATTEMPTS" => format!("too many attempts have failed; try again in {}", time(seconds)),
            "NO_SESSION_PENDING" => format!(
                "no session of {email} waits to be initialised; ask for one with `frontdesk session request \
                 {pasted}`, unless `frontdesk session status {pasted}` says RUNNING"
            ),
            "NO_SESSION_RUNNING" => format!(
                "no session of {email} is running; start the requested one with `frontdesk session initialize \
                 {pasted}`, or ask for one with `frontdesk session request {pasted}`"
            ),
            "NO_CAPACITY" => "as many agents run as this server may have; try again when one has ended, or raise \
                              `limits.max_running`"
                .into(),
            "AGENT_RESTARTING" => {
                format!("the agent was lost and is being started again; try again in {}", time(seconds))
            }
            "AGENT_TIMEOUT" => {
                "the agent did not answer in time; try again, or raise the persona's `request_timeout`".into()
            }
            "AGENT_ERROR" => format!("the agent could not do it: {detail}"),
            "SERVER_BUSY" | "NOT_READY" => {
                format!("the server cannot do it now: {detail} Try again in {}", time(seconds))
            }
            "INVALID_REQUEST" if detail.starts_with("PERSONA_TYPE") => format!(
                "this server has no persona {}; name one of its personas with --persona",
                Printable(self.persona.unwrap_or_default())
            ),
            "INVALID_REQUEST" => format!("the server does not understand the request: {detail}"),
            "REQUEST_TOO_LARGE" => format!("the request is too large: {detail} Send less, or raise `limits.body`"),
            "SESSION_NOT_FOUND" => "there is no such session, or the token is not its own; leave the id out to stop \
                                    the token's session"
                .into(),
            "SESSION_CREATION_FAILED" if detail.starts_with("The agent") => {
                "the agent could not be started; on the server's machine, `frontdesk session list --all` says why"
                    .into()
            }
            "SESSION_CREATION_FAILED" => format!("the server failed: {detail}"),
            other if detail.is_empty() => format!("the server refused: {}", Printable(other)),
            other => format!("the server refused: {detail} ({})", Printable(other)),
        }
    }
}

fn time(seconds: u64) -> String {
    if seconds == 1 {
        "a second".into()
    } else {
        humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_interface_has_a_sentence_of_its_own() {
        let about = About { email: "ada@example.org", persona: Some("SALES"), token: false };
        for message in [
            "INVALID_REQUEST",
            "REQUEST_TOO_LARGE",
            "INVALID_EMAIL_OR_PASSWORD",
            "TOKEN_REQUIRED",
            "TOO_MANY_ATTEMPTS",
            "SESSION_CREATION_FAILED",
            "NO_SESSION_PENDING",
            "NO_CAPACITY",
            "NO_SESSION_RUNNING",
            "AGENT_ERROR",
            "AGENT_TIMEOUT",
            "AGENT_RESTARTING",
            "SERVER_BUSY",
            "NOT_READY",
            "SESSION_NOT_FOUND",
        ] {
            let words = about.words(message, "Because.", 61);
            assert!(!words.contains(message) && !words.starts_with("the server refused"), "{words}");
        }
        assert_eq!(about.words("NEW", "Because.", 1), "the server refused: Because. (NEW)");
        assert_eq!(about.words("TOO_MANY_ATTEMPTS", "", 61), "too many attempts have failed; try again in 1m 1s");
    }

    #[test]
    fn an_email_that_a_shell_would_act_on_is_quoted() {
        let about = About { email: "a'b; rm@x", persona: None, token: false };
        let words = about.words("NO_SESSION_PENDING", "", 1);
        assert!(words.contains(r"`frontdesk session request 'a'\''b; rm@x'`"), "{words}");
    }
}
