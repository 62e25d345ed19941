//! A customer as `/v1` shows it.

use axum::http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::Customer;

/// A customer of the embedded credential server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Customer")]
pub struct CustomerView {
    /// The email as it was added.
    pub email: String,
    /// When it was added, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created: String,
    /// Whether no password of it is good.
    pub disabled: bool,
    /// Since when, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub disabled_since: Option<String>,
}

impl From<&Customer> for CustomerView {
    fn from(customer: &Customer) -> Self {
        Self {
            email: customer.email.clone(),
            created: customer.created.to_string(),
            disabled: customer.disabled.is_some(),
            disabled_since: customer.disabled.map(|at| at.to_string()),
        }
    }
}

/// Where a customer is found.
pub(super) fn location(email: &str) -> HeaderValue {
    let path = format!("/v1/customers/{}", utf8_percent_encode(email, NON_ALPHANUMERIC));
    HeaderValue::from_str(&path).expect("what is percent-encoded is a header's value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_email_has_a_place() {
        assert_eq!(location("a/b é@x"), "/v1/customers/a%2Fb%20%C3%A9%40x");
    }
}
