//! The codes of all refusals: the only place with their statuses. Stable: programs decide by them.

use axum::http::StatusCode;

macro_rules! codes {
    ($($name:ident = $status:ident $text:literal: $meaning:literal,)+) => {
        /// A stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name,)+
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// Its name, as the seed's answers spell it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What it means, and what to do about it.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

codes! {
    InvalidRequest = BAD_REQUEST "INVALID_REQUEST":
        "The request is malformed; `detail` says how. Sending it again changes nothing.",
    TokenRequired = UNAUTHORIZED "TOKEN_REQUIRED":
        "The call needs a token that is valid for it, and the request has none.",
    InvalidEmailOrPassword = UNAUTHORIZED "INVALID_EMAIL_OR_PASSWORD":
        "The email or the password is wrong, or this account may not use this persona. The answer does not say which.",
    ScopeRequired = FORBIDDEN "SCOPE_REQUIRED":
        "The operator's token is valid, but lacks the scope that the call needs.",
    CrossSiteRequest = FORBIDDEN "CROSS_SITE_REQUEST":
        "A page of another site tried to use the console's cookie.",
    UnknownHost = FORBIDDEN "UNKNOWN_HOST":
        "The request asks for the console or the customers' page under a name that is not this server's. The setting `hosts` lists its names.",
    NotFound = NOT_FOUND "NOT_FOUND":
        "There is nothing at this path.",
    SessionNotFound = NOT_FOUND "SESSION_NOT_FOUND":
        "There is no such session, or it is somebody else's. The answer does not say which.",
    NoSessionPending = NOT_FOUND "NO_SESSION_PENDING":
        "No session of this customer waits to be initialised.",
    NoSessionRunning = NOT_FOUND "NO_SESSION_RUNNING":
        "No session of this customer is running.",
    CustomerNotFound = NOT_FOUND "CUSTOMER_NOT_FOUND":
        "There is no such customer.",
    TokenNotFound = NOT_FOUND "TOKEN_NOT_FOUND":
        "There is no such operator's token.",
    MethodNotAllowed = METHOD_NOT_ALLOWED "METHOD_NOT_ALLOWED":
        "The path takes other methods: those in `Allow`.",
    RequestTimeout = REQUEST_TIMEOUT "REQUEST_TIMEOUT":
        "The body came too slowly; the connection is closed.",
    SessionAlreadyRunning = CONFLICT "SESSION_ALREADY_RUNNING":
        "The customer has a live session. The password was good: `session` is its id and `token` a fresh token of it.",
    WrongPhase = CONFLICT "WRONG_PHASE":
        "The session's phase does not allow the call; `detail` says which phase does.",
    CustomerExists = CONFLICT "CUSTOMER_EXISTS":
        "A customer with this email exists already.",
    TokenExists = CONFLICT "TOKEN_EXISTS":
        "An operator's token of this name exists and is not revoked. Revoke it first, or choose another name.",
    PasswordKeptElsewhere = CONFLICT "PASSWORD_KEPT_ELSEWHERE":
        "A remote credential server keeps the customers' passwords. Change it there.",
    LogsGone = GONE "LOGS_GONE":
        "The session has ended, and its agent's log went with it. Only that of a session that failed is kept.",
    RequestTooLarge = PAYLOAD_TOO_LARGE "REQUEST_TOO_LARGE":
        "The body is larger than the server takes.",
    UnsupportedContentType = UNSUPPORTED_MEDIA_TYPE "UNSUPPORTED_CONTENT_TYPE":
        "The server does not take the body's type or encoding.",
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "IDEMPOTENCY_KEY_REUSED":
        "The Idempotency-Key came before with another request. Use a new key for a new request.",
    PasswordRefused = UNPROCESSABLE_ENTITY "PASSWORD_REFUSED":
        "The new password is too short, too long or too common; `detail` says which.",
    TooManyAttempts = TOO_MANY_REQUESTS "TOO_MANY_ATTEMPTS":
        "Too many attempts to sign in have failed. Try again after the time in Retry-After.",
    SessionCreationFailed = INTERNAL_SERVER_ERROR "SESSION_CREATION_FAILED":
        "The server could not create the session, through no fault of the caller, and left nothing behind. The log says why.",
    ServerError = INTERNAL_SERVER_ERROR "SERVER_ERROR":
        "The server failed, through no fault of the caller. The log says why.",
    AgentError = BAD_GATEWAY "AGENT_ERROR":
        "The agent refused the request, or ended before it answered; `detail` says which.",
    AgentNotStarted = BAD_GATEWAY "AGENT_NOT_STARTED":
        "The agent could not be started; `detail` says why. The session is pending again while attempts are left.",
    NoCapacity = SERVICE_UNAVAILABLE "NO_CAPACITY":
        "All agent slots are in use. Try again after the time in Retry-After.",
    AgentRestarting = SERVICE_UNAVAILABLE "AGENT_RESTARTING":
        "The agent was lost or is being replaced, and another one is starting. Try again after the time in Retry-After.",
    ServerBusy = SERVICE_UNAVAILABLE "SERVER_BUSY":
        "A limit of the server is reached; `detail` says which. Try again after the time in Retry-After.",
    NotReady = SERVICE_UNAVAILABLE "NOT_READY":
        "The store is unavailable, or the server is draining or shutting down. Try again after the time in Retry-After.",
    SessionSetAside = SERVICE_UNAVAILABLE "SESSION_SET_ASIDE":
        "The record of a session is damaged: of the named one, or of one that has or may have the customer's place. An \
         operator has to give that session up or restore a backup. Try again after the time in Retry-After.",
    AgentTimeout = GATEWAY_TIMEOUT "AGENT_TIMEOUT":
        "The agent did not answer in time. It may have acted on the request.",
}

impl Code {
    /// The code of this name, in either spelling.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name().eq_ignore_ascii_case(name))
    }

    /// Its name, as problems spell it.
    pub fn in_lower_case(self) -> String {
        self.name().to_ascii_lowercase()
    }

    /// Whether its answers carry Retry-After.
    pub fn says_when(self) -> bool {
        matches!(self.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_codes_have_one_name() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
