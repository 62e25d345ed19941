//! The interface's refusals as sentences that say what to do next.

use std::time::Duration;

use crate::cli::Failure;
use crate::client::{Code, Refused};
use crate::id::Printable;

use super::desk::quoted;

/// What a refusal is about.
pub(super) struct About<'a> {
    pub(super) email: &'a str,
    pub(super) persona: Option<&'a str>,
    pub(super) token: bool,
    pub(super) doing: Doing,
}

/// What somebody was about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Request,
    Start,
    Ask,
    Look,
    Stop,
    ReadLogs,
}

impl About<'_> {
    /// The sentence for a refusal.
    pub(super) fn failure(&self, refused: &Refused) -> Failure {
        let detail = Printable(&refused.detail).to_string();
        let after = refused.retry_after.unwrap_or(Duration::from_secs(1));
        Failure::Failed(match refused.code {
            Some(code) => self.words(code, &detail, after),
            None if detail.is_empty() => format!("the server refused: {}", Printable(&refused.name)),
            None => format!("the server refused: {detail} ({})", Printable(&refused.name)),
        })
    }

    /// The sentence for what a server would refuse, or refused in other words.
    pub(super) fn refused(&self, code: Code) -> Failure {
        Failure::Failed(self.words(code, "", Duration::from_secs(1)))
    }

    /// The sentence for a token whose session has ended, which says nothing of the customer's next one.
    pub(super) fn ended(&self) -> Failure {
        Failure::Failed(format!(
            "the token is of a session of {} that has ended; unset FRONTDESK_TOKEN, or set it to the token of the new one \
             (`frontdesk session request {}` prints one)",
            Printable(self.email),
            quoted(self.email)
        ))
    }

    fn words(&self, code: Code, detail: &str, after: Duration) -> String {
        let (email, pasted) = (Printable(self.email), quoted(self.email));
        match code {
            Code::InvalidEmailOrPassword => format!(
                "the email or the password is wrong, or {email} may not use this persona; `frontdesk customer passwd \
                 {pasted}` sets a new password"
            ),
            Code::TokenRequired if self.doing == Doing::Stop => {
                "the token is no longer good; unset FRONTDESK_TOKEN and name the session by its id to stop it as the \
                 operator"
                    .into()
            }
            Code::TokenRequired if self.doing == Doing::ReadLogs => {
                "not a valid operator token: it is mistyped, was revoked or has expired; `frontdesk token create` makes one".into()
            }
            Code::TokenRequired if self.token => format!(
                "the token is not that of {email}'s session, or no longer; ask for a fresh one with `frontdesk session \
                 request {pasted}`, and correct or unset FRONTDESK_TOKEN"
            ),
            Code::TokenRequired => format!(
                "this needs the token of {email}'s session; set FRONTDESK_TOKEN to it, or ask for a fresh one with \
                 `frontdesk session request {pasted}`"
            ),
            Code::ScopeRequired => {
                format!("the token lacks a scope: {detail} `frontdesk token create` makes one that has it")
            }
            Code::TooManyAttempts => format!("too many attempts have failed; try again in {}", time(after)),
            Code::WrongPhase if self.doing == Doing::Ask => self.words(Code::NoSessionRunning, detail, after),
            Code::WrongPhase if self.doing == Doing::Start => self.words(Code::NoSessionPending, detail, after),
            Code::NoSessionPending => format!(
                "no session of {email} waits to be initialised; ask for one with `frontdesk session request \
                 {pasted}`, unless `frontdesk session status {pasted}` says RUNNING"
            ),
            Code::NoSessionRunning => format!(
                "no session of {email} is running; start the requested one with `frontdesk session initialize \
                 {pasted}`, or ask for one with `frontdesk session request {pasted}`"
            ),
            Code::NoCapacity => "all agent slots are in use; try again when an agent has ended, or raise \
                                 `limits.max_running`"
                .into(),
            Code::AgentRestarting => {
                format!("the agent was lost and is being started again; try again in {}", time(after))
            }
            Code::AgentTimeout => {
                "the agent did not answer in time; try again, or raise the persona's `request_timeout`".into()
            }
            Code::AgentError => format!("the request failed: {detail}"),
            Code::ServerBusy | Code::NotReady | Code::SessionSetAside => {
                format!("the server cannot do it now: {detail} Try again in {}", time(after))
            }
            Code::InvalidRequest if detail.contains("not a persona") => format!(
                "this server has no persona {}; name one of its personas with --persona",
                Printable(self.persona.unwrap_or_default())
            ),
            Code::InvalidRequest => format!("the server does not understand the request: {detail}"),
            Code::RequestTooLarge => format!("the request is too large: {detail} Send less, or raise `limits.body`"),
            Code::IdempotencyKeyReused => {
                "that idempotency key came before with another request; use a new key for a new request".into()
            }
            Code::SessionNotFound if self.doing == Doing::ReadLogs => {
                "there is no such session; `frontdesk session list` shows them".into()
            }
            Code::SessionNotFound if self.doing == Doing::Stop => {
                "there is no such session; the server has forgotten the one that the token opened".into()
            }
            Code::SessionNotFound => self.words(Code::TokenRequired, detail, after),
            Code::LogsGone => {
                "the session has ended, and its log went with it; only that of a session that failed is kept, unless \
                 `history.log` is off"
                    .into()
            }
            Code::AgentNotStarted => {
                format!("the agent could not be started; on the server's machine, `frontdesk session show {pasted}` says why")
            }
            Code::SessionCreationFailed if detail.starts_with("The agent") => {
                self.words(Code::AgentNotStarted, detail, after)
            }
            Code::SessionCreationFailed | Code::ServerError => format!("the server failed: {detail}"),
            Code::CrossSiteRequest
            | Code::UnknownHost
            | Code::NotFound
            | Code::CustomerNotFound
            | Code::TokenNotFound
            | Code::TokenExists
            | Code::MethodNotAllowed
            | Code::RequestTimeout
            | Code::SessionAlreadyRunning
            | Code::WrongPhase
            | Code::CustomerExists
            | Code::UnsupportedContentType
            | Code::PasswordKeptElsewhere
            | Code::PasswordRefused => format!("the server refused: {detail} ({})", code.in_lower_case()),
        }
    }
}

fn time(time: Duration) -> String {
    if time.as_secs() == 1 { "a second".into() } else { humantime::format_duration(time).to_string() }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn about(doing: Doing) -> About<'static> {
        About { email: "ada@example.org", persona: Some("SALES"), token: false, doing }
    }

    #[test]
    fn every_refusal_that_a_command_may_meet_has_a_sentence_of_its_own() {
        for (doing, code) in [
            (Doing::Request, Code::InvalidRequest),
            (Doing::Request, Code::RequestTooLarge),
            (Doing::Request, Code::InvalidEmailOrPassword),
            (Doing::Request, Code::TooManyAttempts),
            (Doing::Request, Code::SessionCreationFailed),
            (Doing::Look, Code::TokenRequired),
            (Doing::Look, Code::SessionNotFound),
            (Doing::Start, Code::WrongPhase),
            (Doing::Start, Code::NoSessionPending),
            (Doing::Start, Code::NoCapacity),
            (Doing::Start, Code::AgentNotStarted),
            (Doing::Ask, Code::WrongPhase),
            (Doing::Ask, Code::AgentError),
            (Doing::Ask, Code::AgentTimeout),
            (Doing::Ask, Code::AgentRestarting),
            (Doing::Ask, Code::IdempotencyKeyReused),
            (Doing::Ask, Code::ServerBusy),
            (Doing::Ask, Code::NotReady),
            (Doing::Stop, Code::TokenRequired),
            (Doing::Stop, Code::SessionNotFound),
            (Doing::ReadLogs, Code::TokenRequired),
            (Doing::ReadLogs, Code::ScopeRequired),
            (Doing::ReadLogs, Code::SessionNotFound),
            (Doing::ReadLogs, Code::LogsGone),
        ] {
            let words = about(doing).words(code, "Because.", SECOND);
            assert!(!words.contains(code.name()) && !words.starts_with("the server refused"), "{words}");
        }
        let minute = about(Doing::Request).words(Code::TooManyAttempts, "", Duration::from_secs(61));
        assert_eq!(minute, "too many attempts have failed; try again in 1m 1s");
    }

    #[test]
    fn a_refusal_of_a_newer_server_is_told_in_its_own_words() {
        let (name, detail) = ("NEW".to_owned(), "Because.".to_owned());
        let refused = Refused { code: None, name, status: StatusCode::CONFLICT, detail, retry_after: None };
        let Failure::Failed(words) = about(Doing::Ask).failure(&refused) else { panic!("no failure") };
        assert_eq!(words, "the server refused: Because. (NEW)");
    }

    #[test]
    fn an_email_that_a_shell_would_act_on_is_quoted() {
        let about = About { email: "a'b; rm@x", ..about(Doing::Start) };
        let words = about.words(Code::NoSessionPending, "", SECOND);
        assert!(words.contains(r"`frontdesk session request 'a'\''b; rm@x'`"), "{words}");
    }
}
