//! What the authentication plugins share: how a request is refused, who it is if nobody, and
//! how it becomes a consumer's.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use pingora::http::RequestHeader;
use serde_json::json;

use super::Flow;
use crate::{answer::Answer, consumer::Credential, exchange::Exchange};

/// Why a request is not authenticated, in the words clients of APISIX know.
pub type Refusal = &'static str;

/// The end of every authentication plugin.
pub struct Gate {
    challenge: HeaderValue,
    anonymous: Option<String>,
}

impl Gate {
    /// `scheme` is the first word of the challenge, `anonymous` the consumer that stands in for
    /// requests without (valid) credentials.
    pub fn new(scheme: &str, realm: &str, anonymous: Option<String>) -> Result<Self, String> {
        let challenge = HeaderValue::try_from(format!("{scheme} realm=\"{realm}\""))
            .map_err(|_| format!("the realm `{realm}` does not fit into a header"))?;
        Ok(Self { challenge, anonymous })
    }

    /// Whether requests without credentials may pass.
    #[must_use]
    pub fn admits_anybody(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Makes the request the consumer's, or the anonymous one's, or refuses it.
    pub fn settle(
        &self,
        exchange: &mut Exchange,
        request: &mut RequestHeader,
        outcome: Result<Arc<Credential>, Refusal>,
    ) -> Flow {
        match (outcome, &self.anonymous) {
            (Ok(credential), _) => {
                let consumer = Arc::clone(&credential.consumer);
                exchange.attach(request, consumer, credential.id.as_deref());
                Flow::Next
            }
            (Err(_), Some(name)) => match exchange.consumer_named(name) {
                Some(consumer) => {
                    exchange.attach(request, consumer, None);
                    Flow::Next
                }
                None => self.refuse("Invalid user authorization"),
            },
            (Err(refusal), None) => self.refuse(refusal),
        }
    }

    fn refuse(&self, message: Refusal) -> Flow {
        Answer::json(StatusCode::UNAUTHORIZED, &json!({ "message": message }))
            .header(WWW_AUTHENTICATE, self.challenge.clone())
            .into()
    }
}
