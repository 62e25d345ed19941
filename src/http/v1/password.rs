//! `PUT /v1/password`: a customer changes the own password.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::embedded::CustomerError;
use crate::credential::password::{FEWEST_CHARACTERS, MOST_BYTES};
use crate::credential::throttle::Sender;
use crate::credential::{InForce, Verifier};
use crate::customer;
use crate::http::App;
use crate::http::auth::Peer;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::creation::known_customer::Shown;
use crate::http::creation::login::{self, Login};
use crate::http::error::Refusal;
use crate::http::input::{MOST_EMAIL_CHARACTERS, check_email_length, parse, read_body};
use crate::http::operation::{self, Answer, Content, Operation, Tag, schema_of};
use crate::http::rate_limit;
use crate::id::{CustomerKey, SessionId};
use crate::store::{Action, Customer};

use super::secret::Secret;
use super::{json, json_body};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "changePassword",
    tag: Tag::Customers,
    summary: "Change the own password",
    description: "The old password stops working. A live session goes on. Unless `sign_out_others` is false, all of \
                  its tokens stop working too, and the answer has the only valid one. A call that is repeated after \
                  a lost answer is refused, because the password is the new one already. A request for a session \
                  with the new password gives a token.",
    query: None,
    headers: &[],
    body: Some(operation::Body { required: true, contents: &[Content::json(schema_of::<Change>)] }),
    answers: &[Answer {
        status: 200,
        description: "It is the password.",
        contents: &[Content::json(schema_of::<Changed>)],
        headers: &[],
    }],
    problems: &[Code::PasswordKeptElsewhere, Code::PasswordRefused],
};

/// The change of a password.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PasswordChange")]
struct Change {
    /// The customer's email.
    #[schemars(length(min = 1, max = MOST_EMAIL_CHARACTERS))]
    email: String,
    /// The password until now.
    password: Secret,
    /// The password from now on.
    #[schemars(length(min = FEWEST_CHARACTERS, max = MOST_BYTES))]
    new_password: Secret,
    /// Whether the tokens of a live session that were given until now become good for nothing.
    #[serde(default = "yes")]
    sign_out_others: bool,
}

const fn yes() -> bool {
    true
}

/// What the change of a password leaves of a live session's tokens.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PasswordChanged")]
struct Changed {
    /// The live session whose tokens were signed out, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    /// Its only valid token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let read = match json_body(&app, &parts, body).await {
        Ok(body) => parse(body, |body| Ok((read_body::<Change>(&body)?, body))).await,
        Err(refusal) => Err(refusal),
    };
    match read {
        Ok((change, body)) => {
            let peer = admitted.caller.peer;
            answer(&app, peer, &Shown::new(&parts, peer), change, body).await
        }
        Err(refusal) => refusal.problem(),
    }
}

async fn answer(app: &Arc<App>, peer: Peer, shown: &Shown, change: Change, body: Body) -> Response {
    if let Err(refusal) = check_email_length(&change.email, MOST_EMAIL_CHARACTERS) {
        return refusal.problem();
    }
    let customer = app.embedded.key(&change.email);
    let sender = match shown.proof(app, &customer).await {
        Ok(proof) => peer.sender().with_proof(proof),
        Err(refusal) => return refusal.problem(),
    };
    let mut answer = match self::change(app, (peer, sender), &customer, change, body).await {
        Ok(changed) => {
            let mut answer = json(StatusCode::OK, &changed);
            shown.remember_device(app, peer, &customer, &mut answer);
            answer
        }
        Err(refusal) => refusal.problem(),
    };
    let quotas = app.gate.quotas(&customer, sender, app.clock.now());
    rate_limit::write(answer.headers_mut(), &quotas);
    answer
}

async fn change(
    app: &Arc<App>,
    (peer, sender): (Peer, Sender),
    key: &CustomerKey,
    change: Change,
    body: Body,
) -> Result<Changed, Refusal> {
    let Change { email, password, new_password, sign_out_others } = change;
    let login = Arc::new(Login { email, password: password.0, persona: String::new() });
    let body = Arc::new(body);
    loop {
        let verifier = app.verifiers.in_force();
        if !matches!(verifier, InForce::Embedded(_)) {
            return Err(Refusal::PasswordKeptElsewhere);
        }
        // Seen before the check, so that a password which an operator sets meanwhile is not replaced.
        let shown = app.embedded.customer(&login.email).await;
        login::check(app, (peer, sender), verifier, key, &login, &body).await?;
        let shown = shown.map_err(|error| match error {
            CustomerError::Unknown => Refusal::BadCredentials,
            error @ (CustomerError::Email(_)
            | CustomerError::Exists { .. }
            | CustomerError::PasswordRefused(_)
            | CustomerError::Hashing(_)
            | CustomerError::Store(_)) => error.into(),
        })?;
        app.embedded.check_password(&login.email, &new_password.0).await?;
        let replacement = Replacement { peer, shown, new: new_password.clone(), sign_out_others };
        if let Some(changed) = app.tasks.carry_out(replacement.carry_out(Arc::clone(app))).await? {
            return Ok(changed);
        }
    }
}

/// A password whose customer has shown the one before.
struct Replacement {
    peer: Peer,
    /// The customer, with the password that was shown.
    shown: Customer,
    new: Secret,
    sign_out_others: bool,
}

impl Replacement {
    /// Nothing if the password is another by now than the one that was shown.
    async fn carry_out(self, app: Arc<App>) -> Result<Option<Changed>, Refusal> {
        let key = self.shown.key.clone();
        app.audit_of_own_account(self.peer, Action::PasswordChanged, key.clone()).await?;
        if !app.embedded.change_password(self.shown, self.new.0).await? {
            return Ok(None);
        }
        tracing::info!(customer = %key, peer = %self.peer.client, "password changed by its customer");
        if !self.sign_out_others {
            return Ok(Some(Changed::default()));
        }
        let mut token = None;
        let session = customer::sign_out(&*app.store, &key, |session| {
            let (text, hash) = app.store.desk().token_key.issue(session, &crate::random::bytes());
            token = Some(text);
            Some(hash)
        });
        let session = session.await?;
        Ok(Some(Changed { session, token: token.filter(|_| session.is_some()) }))
    }
}
