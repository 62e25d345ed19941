//! Every refusal of the HTTP interface: its code and its sentence. [`Code`] has the statuses.
//!
//! On the seed's own paths a refusal is `{"MESSAGE": .., "DETAIL": ..}`; everywhere else it is a problem (RFC 9457) with
//! the same name in lower case as its `code`. A 4xx explains; a 5xx says one constant sentence, and the log says the rest.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::CallError;
use crate::credential::VerifyError;
use crate::credential::embedded::CustomerError;
use crate::credential::gate::NotAdmitted;
use crate::credential::hashing::HashingError;
use crate::customer::RemoveError;
use crate::id::SessionId;
use crate::operator_token::TokenError;
use crate::principal::Scope;
use crate::session::machine::Rejection;
use crate::session::{CommandError, InitialiseError, RelayError};
use crate::store::StoreError;

use super::body::BodyError;
use super::code::Code;
use super::health::Check;

/// What whoever wants something new hears from a server that is being drained.
pub const DRAINED: &str =
    "The server is being drained: it takes no new sessions and starts no agents until that is over.";

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The input is malformed; the sentence says how.
    Invalid(String),
    /// No such path.
    NotFound,
    /// The path has no such method. The router adds `Allow`.
    MethodNotAllowed,
    /// The body, or what must be sent on of it, is too large.
    TooLarge(&'static str),
    /// A content type or encoding that is not taken.
    UnsupportedContentType(&'static str),
    /// The body comes too slowly.
    TooSlow,
    /// The email, the password or the persona's type is wrong; nobody learns which.
    BadCredentials,
    /// The session's token is missing, wrong or no longer valid.
    TokenRequired,
    /// Who calls is no operator: the token is missing, a session's, wrong, or no longer valid.
    OperatorRequired,
    /// Too many failed attempts.
    TooManyAttempts(Duration),
    /// A session could not be created or started, for no fault of the caller.
    CreationFailed(&'static str),
    /// There is nothing to initialise.
    NoSessionPending,
    /// All agent slots are in use.
    NoCapacity,
    /// There is no session to send a request to.
    NoSessionRunning,
    /// The agent failed at the request, in its own words or ours.
    AgentError(String),
    /// The agent took too long.
    AgentTimeout,
    /// The agent is being started again.
    AgentRestarting(Duration),
    /// More is asked at once than the server takes.
    Busy(&'static str),
    /// The server is not serving at the moment: storage away, or shutting down.
    NotReady(&'static str),
    /// There is no such session, or it is somebody else's.
    NoSuchSession,
    /// The session is in no phase in which that can be done; the sentence says which.
    WrongPhase(&'static str),
    /// The agent could not be started, and why.
    AgentNotStarted(String),
    /// The idempotency key came before with something else.
    KeyReused,
    /// The caller is known and has not the scope.
    ScopeRequired(Scope),
    /// A page of another site sent the console's cookie.
    CrossSite,
    /// The console or the customers' page is asked for under a name that is none of this server's.
    UnknownHost,
    /// There is no such customer.
    NoSuchCustomer,
    /// A customer with this email exists already.
    CustomerExists,
    /// An operator's token of this name is not revoked.
    TokenExists,
    /// The password is too short, too long or too common; the sentence says which.
    PasswordRefused(String),
    /// Passwords are a remote credential server's to change.
    PasswordKeptElsewhere,
    /// There is no such operator's token.
    NoSuchToken,
    /// The customer has a live session.
    SessionAlreadyRunning,
    /// The session has ended, and its logs went with it.
    LogsGone,
    /// The record of this session, or of one that has or may have the customer's place, is damaged.
    SetAside,
    /// The server failed at something; the log says at what.
    Failed,
}

impl Refusal {
    /// Its stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidRequest,
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::TooLarge(_) => Code::RequestTooLarge,
            Self::UnsupportedContentType(_) => Code::UnsupportedContentType,
            Self::TooSlow => Code::RequestTimeout,
            Self::BadCredentials => Code::InvalidEmailOrPassword,
            Self::TokenRequired | Self::OperatorRequired => Code::TokenRequired,
            Self::TooManyAttempts(_) => Code::TooManyAttempts,
            Self::CreationFailed(_) => Code::SessionCreationFailed,
            Self::NoSessionPending => Code::NoSessionPending,
            Self::NoCapacity => Code::NoCapacity,
            Self::NoSessionRunning => Code::NoSessionRunning,
            Self::AgentError(_) => Code::AgentError,
            Self::AgentTimeout => Code::AgentTimeout,
            Self::AgentRestarting(_) => Code::AgentRestarting,
            Self::Busy(_) => Code::ServerBusy,
            Self::NotReady(_) => Code::NotReady,
            Self::NoSuchSession => Code::SessionNotFound,
            Self::WrongPhase(_) => Code::WrongPhase,
            Self::AgentNotStarted(_) => Code::AgentNotStarted,
            Self::KeyReused => Code::IdempotencyKeyReused,
            Self::ScopeRequired(_) => Code::ScopeRequired,
            Self::CrossSite => Code::CrossSiteRequest,
            Self::UnknownHost => Code::UnknownHost,
            Self::NoSuchCustomer => Code::CustomerNotFound,
            Self::CustomerExists => Code::CustomerExists,
            Self::TokenExists => Code::TokenExists,
            Self::PasswordRefused(_) => Code::PasswordRefused,
            Self::PasswordKeptElsewhere => Code::PasswordKeptElsewhere,
            Self::NoSuchToken => Code::TokenNotFound,
            Self::SessionAlreadyRunning => Code::SessionAlreadyRunning,
            Self::LogsGone => Code::LogsGone,
            Self::SetAside => Code::SessionSetAside,
            Self::Failed => Code::ServerError,
        }
    }

    fn detail(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Invalid(why) | Self::AgentError(why) | Self::AgentNotStarted(why) | Self::PasswordRefused(why) => why,
            Self::TooLarge(why)
            | Self::UnsupportedContentType(why)
            | Self::WrongPhase(why)
            | Self::CreationFailed(why)
            | Self::Busy(why)
            | Self::NotReady(why) => why,
            Self::NotFound => "There is nothing at this path.",
            Self::MethodNotAllowed => "This path takes another method; see the Allow header.",
            Self::TooSlow => "The body came slower than 1 KiB a second.",
            Self::BadCredentials => "The email or the password is wrong, or this account may not use this persona.",
            Self::TokenRequired => {
                "This call needs a valid token, as `Authorization: Bearer TOKEN`, or on the seed's paths as TOKEN in \
                 the body; the request has none, or one that is not valid here."
            }
            Self::OperatorRequired => {
                "This call needs a valid operator's token; the request has none, or one that is not valid."
            }
            Self::TooManyAttempts(_) => "Too many attempts have failed; try again after the time in Retry-After.",
            Self::NoSessionPending => "No session of this customer waits to be initialised.",
            Self::NoCapacity => "All agent slots are in use; try again after the time in Retry-After.",
            Self::NoSessionRunning => "No session of this customer is running.",
            Self::AgentTimeout => "The agent did not answer in time.",
            Self::AgentRestarting(_) => "The agent is being started again.",
            Self::NoSuchSession => "There is no such session, or it is not yours.",
            Self::KeyReused => {
                "This Idempotency-Key came before with another request; use a new key for a new request."
            }
            Self::ScopeRequired(scope) => return Cow::Owned(format!("This token lacks the scope {scope}.")),
            Self::CrossSite => "A page of another site may not use the console's cookie.",
            Self::UnknownHost => {
                "The console and the customers' page answer under this server's own names only; add this one to `hosts`."
            }
            Self::NoSuchCustomer => "There is no such customer.",
            Self::CustomerExists => "A customer with this email exists already.",
            Self::TokenExists => {
                "An operator's token of this name exists and is not revoked; revoke it first, or choose another name."
            }
            Self::PasswordKeptElsewhere => "A remote credential server keeps the passwords; change yours there.",
            Self::NoSuchToken => "There is no such operator's token.",
            Self::SessionAlreadyRunning => {
                "You have a live session: go on with it by `session` and `token`, or stop it first."
            }
            Self::LogsGone => {
                "The session has ended, and its log went with it; only that of a session that failed is kept (`history.log`)."
            }
            Self::SetAside => {
                "The stored record of a session, which is or may be this customer's, is damaged. An operator of the server \
                 has to see to it; try again after the time in Retry-After."
            }
            Self::Failed => "The server failed; its log says why.",
        })
    }

    fn retry_after(&self) -> Option<Duration> {
        const SOON: Duration = Duration::from_secs(1);
        // Somebody has to do something first.
        const LATER: Duration = Duration::from_mins(1);
        if let Self::TooManyAttempts(after) | Self::AgentRestarting(after) = self {
            return Some(*after);
        }
        let when = if matches!(self, Self::SetAside) { LATER } else { SOON };
        self.code().says_when().then_some(when)
    }

    /// The answer in the form of the path's interface.
    pub fn answer(&self, path: &str) -> Response {
        if is_the_seeds(path) { self.seed() } else { self.problem() }
    }

    /// The answer as the seed's clients read it.
    pub fn seed(&self) -> Response {
        #[derive(Serialize)]
        struct Answer<'a> {
            #[serde(rename = "MESSAGE")]
            message: &'static str,
            #[serde(rename = "DETAIL")]
            detail: &'a str,
        }
        // The seed has one name for whatever fails in the server, and one for whatever is wrong with a request.
        let code = if matches!(self, Self::KeyReused) {
            Code::InvalidRequest
        } else if self.code() == Code::ServerError {
            Code::SessionCreationFailed
        } else {
            self.code()
        };
        self.response(code, "application/json", &Answer { message: code.name(), detail: &self.detail() })
    }

    /// The answer as a problem (RFC 9457).
    pub fn problem(&self) -> Response {
        self.response(self.code(), "application/problem+json", &self.to_problem())
    }

    /// The same for a caller who may go on with this session, by this token.
    pub fn problem_with(&self, session: SessionId, token: String) -> Response {
        let problem = Problem { session: Some(session), token: Some(token), ..self.to_problem() };
        self.response(self.code(), "application/problem+json", &problem)
    }

    /// The same with what is known of each part of the server.
    pub fn problem_with_checks(&self, checks: Vec<Check>) -> Response {
        let problem = Problem { checks: Some(checks), ..self.to_problem() };
        self.response(self.code(), "application/problem+json", &problem)
    }

    /// What is wrong, as a problem says it.
    pub fn to_problem(&self) -> Problem {
        let code = self.code();
        Problem {
            kind: format!("/docs#{}", code.in_lower_case()),
            title: code.status().canonical_reason().unwrap_or_default().to_owned(),
            status: code.status().as_u16(),
            code: code.in_lower_case(),
            detail: self.detail().into_owned(),
            session: None,
            token: None,
            checks: None,
        }
    }

    fn response(&self, code: Code, content_type: &'static str, answer: &impl Serialize) -> Response {
        let text = serde_json::to_vec(answer).expect("an answer has string keys only and serialises");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = code.status();
        response.extensions_mut().insert(self.code());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after() {
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        if self.code() == Code::TokenRequired {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"frontdesk\""));
        }
        if self.code() == Code::InvalidEmailOrPassword {
            // A scheme of our own: for a registered one, browsers would ask for a password by themselves.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Frontdesk realm=\"frontdesk\""));
        }
        if self.code() == Code::RequestTimeout {
            // What is left of the body would be read as the next request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What is wrong, in the form of RFC 9457.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Where the code is explained, relative to the server.
    #[serde(rename = "type")]
    #[schemars(extend("format" = "uri-reference"))]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// What programs decide by: it never changes its meaning.
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
    /// Only with `session_already_running`: the customer's live session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Only with `session_already_running`: a fresh token of that session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Only with `not_ready` of `/readyz`: each part of the server, and what is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<Check>>,
}

/// Whether the path is one of the seed's, or of nobody's: whoever asks for nothing of ours is answered as the seed was.
fn is_the_seeds(path: &str) -> bool {
    !["/v1/", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/console"]
        .iter()
        .any(|ours| path.starts_with(ours))
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge("The body is larger than this server takes."),
            BodyError::NoMemory => Self::Busy("The memory for request bodies is used up; try again."),
            BodyError::AddressHoldsTooMuch => Self::Busy(
                "The requests that come from your address hold as much memory as one address may; try again when \
                 some of them are answered.",
            ),
            BodyError::TooSlow => Self::TooSlow,
            BodyError::Draining => Self::NotReady("The server is shutting down."),
            BodyError::Broken => Self::Invalid("The body ended before it was complete.".into()),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy("The store has more to write than it can; try again."),
            StoreError::Unavailable(_) => Self::NotReady("The store is unavailable; try again."),
            StoreError::Full => Self::NotReady("The server's disk is full; try again when it has room."),
            StoreError::Conflict | StoreError::Missing | StoreError::Unsupported(_) => {
                tracing::error!(error = %error, "store answered what it must not");
                Self::Failed
            }
            StoreError::SetAside(_) => {
                tracing::warn!(error = %error, "call refused: stored data is damaged");
                Self::SetAside
            }
            StoreError::Corrupt(_) | StoreError::Malformed(_) => {
                tracing::warn!(error = %error, "call failed: stored data is damaged");
                Self::Failed
            }
        }
    }
}

impl From<NotAdmitted> for Refusal {
    fn from(refused: NotAdmitted) -> Self {
        match refused {
            NotAdmitted::TooManyAttempts(refused) => Self::TooManyAttempts(refused.retry_after),
            NotAdmitted::WaitedInVain => {
                Self::Busy("Earlier sign-ins of this account or address are still being checked; try again.")
            }
        }
    }
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Busy => Self::Busy("Too many passwords wait to be checked; try again."),
            VerifyError::TooLong => Self::TooLarge("EMAIL and PASSWORD are longer than the credential server takes."),
            VerifyError::Failed(why) => {
                tracing::error!(error = why, "credential check failed");
                Self::CreationFailed("The credential server did not answer as it should.")
            }
        }
    }
}

impl From<InitialiseError> for Refusal {
    fn from(error: InitialiseError) -> Self {
        match error {
            InitialiseError::NotPending => Self::NoSessionPending,
            InitialiseError::NoCapacity => Self::NoCapacity,
            InitialiseError::StartFailed(_) => {
                Self::CreationFailed("The agent could not be started; the server's log says why.")
            }
            InitialiseError::Drained => Self::NotReady(DRAINED),
            InitialiseError::Draining => Self::NotReady("The server is shutting down."),
            InitialiseError::Store(error) => error.into(),
        }
    }
}

impl From<RelayError> for Refusal {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::NotRunning | RelayError::Call(CallError::Finished) => Self::NoSessionRunning,
            RelayError::Restarting { retry_after } => Self::AgentRestarting(retry_after),
            RelayError::Call(CallError::NotGiven(_)) => Self::AgentRestarting(Duration::ZERO),
            RelayError::AnswerDropped => Self::AgentError(
                "The answer to this request is no longer kept, and the agent does not get the request again; use a \
                 new key."
                    .into(),
            ),
            RelayError::Call(CallError::Refused { message }) => Self::AgentError(beginning(message)),
            RelayError::Call(CallError::Lost(_)) => Self::AgentError(
                "The agent ended before it answered; whether it acted on the request is unknown.".into(),
            ),
            RelayError::Call(CallError::NoAnswer(_)) => {
                Self::AgentError("The agent gave no answer; whether it acted on the request is unknown.".into())
            }
            RelayError::KeyReused => Self::KeyReused,
            RelayError::Store(error) => error.into(),
            RelayError::Call(CallError::TimedOut) => Self::AgentTimeout,
            RelayError::Call(CallError::TooMany) => Self::Busy("The agent has too many requests in flight; try again."),
            RelayError::Call(CallError::NotSpoken) => {
                Self::AgentError("This persona's agent takes no requests.".into())
            }
        }
    }
}

/// What of an agent's words is a sentence for a person.
fn beginning(mut words: String) -> String {
    const MOST_BYTES: usize = 2_000;
    if words.len() > MOST_BYTES {
        words.truncate(words.floor_char_boundary(MOST_BYTES));
        words.push_str("...");
        words.shrink_to_fit();
    }
    words
}

impl From<CustomerError> for Refusal {
    fn from(error: CustomerError) -> Self {
        match error {
            CustomerError::Email(error) => Self::Invalid(sentence(&error.to_string())),
            CustomerError::Exists { .. } => Self::CustomerExists,
            CustomerError::Unknown => Self::NoSuchCustomer,
            CustomerError::PasswordRefused(_) => Self::PasswordRefused(sentence(&error.to_string())),
            CustomerError::Hashing(HashingError::Busy) => {
                Self::Busy("Too many passwords wait to be hashed; try again.")
            }
            CustomerError::Hashing(HashingError::Failed(_)) => {
                tracing::error!(error = %error, "password not hashed");
                Self::Failed
            }
            CustomerError::Store(error) => error.into(),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Name | TokenError::NoScope | TokenError::Lifetime => {
                Self::Invalid(sentence(&error.to_string()))
            }
            TokenError::Exists => Self::TokenExists,
            TokenError::Store(error) => error.into(),
        }
    }
}

impl From<RemoveError> for Refusal {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Customer(error) => error.into(),
            RemoveError::Look(error) => error.into(),
            RemoveError::Session(_, error) => error.into(),
        }
    }
}

/// An error's words as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Rejected(Rejection::NotRunning) => {
                Self::WrongPhase("Only a session that is running, or starting again, has an agent to restart.")
            }
            CommandError::Rejected(Rejection::OtherEpoch) => {
                Self::WrongPhase("The session has had no agent of this epoch yet.")
            }
            CommandError::Rejected(Rejection::NotPending | Rejection::Ended | Rejection::DoesNotApply)
            | CommandError::Store(StoreError::Missing) => Self::NoSuchSession,
            CommandError::Store(error) => error.into(),
            CommandError::Killed(_) => Self::NotReady(
                "The agent was killed, but the session's end is not stored yet: the store takes no changes. The server stores \
                 it as soon as it can.",
            ),
            CommandError::Draining => Self::NotReady("The server is shutting down."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_in_vain_is_told_that_the_server_is_busy_and_when_to_try_again() {
        let answer = Refusal::from(NotAdmitted::WaitedInVain).seed();
        assert_eq!(answer.status(), axum::http::StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        assert_eq!(Refusal::from(NotAdmitted::WaitedInVain).code(), Code::ServerBusy);
    }

    #[test]
    fn of_an_unavailable_store_nothing_is_said_that_nobody_knows() {
        let refusal = Refusal::from(StoreError::Unavailable("disk full".into()));
        assert_eq!(refusal, Refusal::NotReady("The store is unavailable; try again."));
    }
}
