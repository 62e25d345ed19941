//! What operators do, with a token that has the scope.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::v1::customers::add::NewCustomer;
use crate::http::v1::customers::disable::Disabled;
use crate::http::v1::customers::set_password::NewPassword;
use crate::http::v1::secret::Secret;
use crate::http::v1::sessions::restart;
use crate::http::v1::throttled::list::ThrottledView;
use crate::http_client::{AnswerBody, FetchError};
use crate::id::{Epoch, SessionId};
use crate::principal::OperatorTokenId;

use super::call::Call;
use super::error::Tried;
use super::{
    AuditFilter, Client, ClientError, CreatedToken, CustomerView, EntryView, LogQuery, NewToken, NodeView,
    OperatorsView, Page, PersonaView, SessionFilter, SessionView, StopFilter, Stopped, TokenView,
};

/// A list, page by page.
pub struct Pages<T> {
    client: Client,
    path: &'static str,
    query: Vec<(String, String)>,
    is_at_the_end: bool,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Pages<T> {
    fn new(client: &Client, path: &'static str, query: &impl Serialize) -> Self {
        let text = serde_urlencoded::to_string(query).expect("a filter is flat and serialises");
        let query = serde_urlencoded::from_str(&text).expect("what was written is read");
        Self { client: client.clone(), path, query, is_at_the_end: false, items: PhantomData }
    }

    /// The items of the next page; none after the last page.
    ///
    /// # Errors
    /// See [`ClientError`]. Asking again asks for the same page.
    pub async fn next(&mut self) -> Result<Option<Vec<T>>, ClientError> {
        if self.is_at_the_end {
            return Ok(None);
        }
        let page: Page<T> = self.client.json(&Call::new(Method::GET, self.path).query(&self.query)).await?;
        self.query.retain(|(name, _)| name != "cursor");
        self.is_at_the_end = page.next.is_none();
        self.query.extend(page.next.map(|next| ("cursor".to_owned(), next)));
        Ok(Some(page.items))
    }
}

/// The log of a session's agent on its way.
pub struct Logs(AnswerBody);

impl Logs {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] if the connection broke. Nothing tells a piece of text from its like, so that this is
    /// not mended here.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.0.frame().await {
            let broken = |error: hyper::Error| ClientError::NoAnswer {
                cause: FetchError::Transport(error.into()),
                tried: Tried::ONCE,
            };
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl Client {
    /// Sessions, the youngest first.
    pub fn sessions(&self, filter: &SessionFilter) -> Pages<OperatorsView> {
        Pages::new(self, "/v1/sessions", filter)
    }

    /// Ends all sessions that match, 1,000 at most. It is not sent again by itself: sessions that are requested meanwhile
    /// may match as well.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop_sessions(&self, which: &StopFilter) -> Result<Stopped, ClientError> {
        self.json(&Call::new(Method::POST, "/v1/sessions/stop").json(which)).await
    }

    /// Has a session go on with another agent than the one of `epoch`; one that has a later agent is left alone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn restart(&self, id: SessionId, epoch: Epoch) -> Result<SessionView, ClientError> {
        let query = restart::Query { epoch: Some(epoch.0) };
        self.json(&Call::new(Method::POST, format!("/v1/sessions/{id}/restart")).query(&query).repeatable()).await
    }

    /// What a session's agent writes to stderr.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs(&self, id: SessionId, which: &LogQuery) -> Result<Logs, ClientError> {
        let call = Call::new(Method::GET, format!("/v1/sessions/{id}/logs")).query(which).accept("text/plain");
        Ok(Logs(self.open(&call).await?.into_body()))
    }

    /// The kinds of session.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn personas(&self) -> Result<Vec<PersonaView>, ClientError> {
        self.all("/v1/personas").await
    }

    /// The servers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        self.all("/v1/nodes").await
    }

    /// Operators' tokens, without their secrets.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.all("/v1/tokens").await
    }

    /// Makes an operator's token. It is not sent again by itself: who has lost the answer can't be told the token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_token(&self, new: &NewToken) -> Result<CreatedToken, ClientError> {
        self.json(&Call::new(Method::POST, "/v1/tokens").json(new)).await
    }

    /// Revokes an operator's token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke_token(&self, id: OperatorTokenId) -> Result<(), ClientError> {
        self.call(&Call::new(Method::DELETE, format!("/v1/tokens/{id}"))).await.map(drop)
    }

    /// The audit, the youngest entries first.
    pub fn audit(&self, filter: &AuditFilter) -> Pages<EntryView> {
        Pages::new(self, "/v1/audit", filter)
    }

    /// Customers in the order of their emails.
    pub fn customers(&self) -> Pages<CustomerView> {
        Pages::new(self, "/v1/customers", &[("limit", "1000")])
    }

    /// One customer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn customer(&self, email: &str) -> Result<CustomerView, ClientError> {
        self.json(&Call::new(Method::GET, customer(email))).await
    }

    /// Adds a customer; the same again changes nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add_customer(&self, email: &str, password: SecretString) -> Result<CustomerView, ClientError> {
        let new = NewCustomer { email: email.to_owned(), password: Secret(password) };
        self.json(&Call::new(Method::POST, "/v1/customers").json(&new).repeatable()).await
    }

    /// Replaces a customer's password. `sign_out` also revokes the tokens of a live session.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_password(&self, email: &str, password: SecretString, sign_out: bool) -> Result<(), ClientError> {
        let new = NewPassword { password: Secret(password), sign_out };
        let call = Call::new(Method::PUT, format!("{}/password", customer(email))).json(&new);
        self.call(&call).await.map(drop)
    }

    /// Disables a customer and stops its session, or enables it again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_disabled(&self, email: &str, disabled: bool) -> Result<CustomerView, ClientError> {
        self.json(&Call::new(Method::PUT, format!("{}/disabled", customer(email))).json(&Disabled { disabled })).await
    }

    /// Whose sign-ins are being slowed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn throttled(&self) -> Result<Vec<ThrottledView>, ClientError> {
        self.all("/v1/throttled").await
    }

    /// Forgets what failed for a customer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unthrottle(&self, email: &str) -> Result<(), ClientError> {
        let path = format!("/v1/throttled/{}", utf8_percent_encode(email, NON_ALPHANUMERIC));
        self.call(&Call::new(Method::DELETE, path)).await.map(drop)
    }

    /// Removes a customer and stops its session.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_customer(&self, email: &str) -> Result<(), ClientError> {
        self.call(&Call::new(Method::DELETE, customer(email)).waits(Duration::from_mins(1))).await.map(drop)
    }

    /// A list that has one page.
    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        let page: Page<T> = self.json(&Call::new(Method::GET, path)).await?;
        Ok(page.items)
    }
}

fn customer(email: &str) -> String {
    format!("/v1/customers/{}", utf8_percent_encode(email, NON_ALPHANUMERIC))
}
