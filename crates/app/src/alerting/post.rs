//! Posts a message to a webhook. Requests carry an id that stays the same when one is repeated, the
//! time, and with a secret a signature, in the form of Standard Webhooks (standardwebhooks.com):
//!
//! ```text
//! webhook-id: 7250115
//! webhook-timestamp: 1800000000
//! webhook-signature: v1,<base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>")>
//! ```

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_model::alert_webhook::WebhookSpec;
use gantry_model::{Error, Id, Result, Timestamp};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Client, StatusCode};
use url::Url;

use super::guard::{AllowedNetworks, Guard, Refused};
use crate::mask::MASK;
use crate::seal::keyed_hash;

/// Longest that a receiver may take for its whole answer, unless a test says otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is kept.
const ANSWER_BYTES_MAX: usize = 4096;
/// Marks a secret whose key is written in base64.
pub(crate) const SECRET_PREFIX: &str = "whsec_";

/// Headers that requests bring along.
pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";

/// What came of a request.
#[derive(Debug)]
pub(super) struct Posted {
    /// What was sent, the values of headers masked.
    pub request: String,
    /// What came back, or why nothing did.
    pub response: String,
    /// The same in a few words.
    pub brief: String,
    pub fate: Fate,
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    /// It may succeed later.
    Again,
    /// It would fail again.
    GivenUp,
}

/// A message for a webhook.
pub(super) struct Message<'a> {
    /// The same for every attempt.
    pub id: Id,
    pub time: Timestamp,
    pub webhook: &'a WebhookSpec,
    pub body: &'a str,
}

/// Posts messages; redirects are not followed, proxies of the environment are not used.
pub(super) struct Poster {
    guard: Guard,
    patience: Duration,
    verifying: OnceLock<Client>,
    trusting: OnceLock<Client>,
}

impl Poster {
    /// `patience` is the longest that a receiver may take for its whole answer.
    pub(super) fn new(allowed: AllowedNetworks, patience: Duration) -> Self {
        Self::with(Guard::new(allowed), patience)
    }

    fn with(guard: Guard, patience: Duration) -> Self {
        Self { guard, patience, verifying: OnceLock::new(), trusting: OnceLock::new() }
    }

    /// The client, made when it is first needed. Connections are not kept, so that each one goes to
    /// an address that was just looked at.
    fn client(&self, skip_tls_verify: bool) -> Result<&Client> {
        let cell = if skip_tls_verify { &self.trusting } else { &self.verifying };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .timeout(self.patience)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .no_gzip()
            .pool_max_idle_per_host(0)
            .dns_resolver(self.guard.clone())
            .tls_danger_accept_invalid_certs(skip_tls_verify)
            .build()
            .map_err(Error::internal)?;
        Ok(cell.get_or_init(|| client))
    }

    /// What would be sent.
    pub(super) fn preview(message: &Message<'_>) -> String {
        request_text(message, &headers(message).unwrap_or_default())
    }

    /// Sends a message once.
    pub(super) async fn post(&self, message: &Message<'_>) -> Result<Posted> {
        let WebhookSpec { url, skip_tls_verify, .. } = message.webhook;
        let Ok(target) = Url::parse(url) else { return Ok(given_up(message, "the URL is broken")) };
        let Some(headers) = headers(message) else {
            return Ok(given_up(message, "a header cannot be sent"));
        };
        if let Err(refused) = self.guard.check(&target) {
            return Ok(given_up(message, &refused.to_string()));
        }
        let request = request_text(message, &headers);
        let sending = self.client(*skip_tls_verify)?.post(target).headers(headers);
        let answer = sending.body(message.body.to_owned()).send().await;
        Ok(match answer {
            Ok(answer) => {
                let status = answer.status();
                let (response, brief) = (response_text(answer).await, status.to_string());
                Posted { request, response, brief, fate: fate(status) }
            }
            Err(error) => {
                let (why, fate) = reason(&error);
                Posted { request, response: why.clone(), brief: why, fate }
            }
        })
    }
}

/// A message that was not sent.
fn given_up(message: &Message<'_>, why: &str) -> Posted {
    let request = request_text(message, &HeaderMap::new());
    Posted { request, response: why.to_owned(), brief: why.to_owned(), fate: Fate::GivenUp }
}

/// Those of the webhook stand above ours; `None` if one of them is none.
fn headers(message: &Message<'_>) -> Option<HeaderMap> {
    let Message { id, time, webhook, body } = message;
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
    let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
    let mut headers = HeaderMap::new();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("gantry/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for header in &webhook.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_str(&header.value).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let seconds = time.seconds();
    headers.insert(ID, HeaderValue::from_str(&id.to_string()).ok()?);
    headers.insert(TIMESTAMP, seconds.into());
    if let Some(secret) = &webhook.secret {
        let key = key(secret)?;
        let hash = keyed_hash(&key, format!("{id}.{seconds}.{body}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(hash));
        let mut value = HeaderValue::from_str(&signature).ok()?;
        value.set_sensitive(true);
        headers.insert(SIGNATURE, value);
    }
    Some(headers)
}

/// The key of a secret; `None` if it should be base64 and is not.
pub(crate) fn key(secret: &str) -> Option<Vec<u8>> {
    match secret.strip_prefix(SECRET_PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).ok().filter(|key| !key.is_empty()),
        None => Some(secret.as_bytes().to_vec()),
    }
}

/// Others may be unreachable, busy or broken for a while.
fn fate(status: StatusCode) -> Fate {
    match status {
        _ if status.is_success() => Fate::Delivered,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Fate::Again
        }
        _ if status.is_server_error() => Fate::Again,
        _ => Fate::GivenUp,
    }
}

/// The innermost cause of a failure, and whether to try again.
fn reason(error: &reqwest::Error) -> (String, Fate) {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |one| one.source());
    let causes: Vec<_> = causes.collect();
    if let Some(refused) = causes.iter().find_map(|one| one.downcast_ref::<Refused>()) {
        return (refused.to_string(), Fate::GivenUp);
    }
    if error.is_timeout() {
        return (format!("no answer within {} seconds", TIMEOUT.as_secs()), Fate::Again);
    }
    let innermost = causes.last().map(ToString::to_string).unwrap_or_default();
    (format!("no answer: {innermost}"), Fate::Again)
}

fn request_text(message: &Message<'_>, headers: &HeaderMap) -> String {
    let mut text = format!("POST {}\n", message.webhook.url);
    for (name, value) in headers {
        let value = if value.is_sensitive() { MASK } else { value.to_str().unwrap_or_default() };
        // Writing to a text does not fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    text + "\n" + message.body
}

async fn response_text(mut answer: reqwest::Response) -> String {
    let mut text = format!("{:?} {}\n", answer.version(), answer.status());
    if let Some(kind) = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) {
        let _ = writeln!(text, "{CONTENT_TYPE}: {kind}");
    }
    let mut body = Vec::new();
    // An answer that breaks off has its status all the same.
    while let Ok(Some(chunk)) = answer.chunk().await
        && body.len() < ANSWER_BYTES_MAX
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(ANSWER_BYTES_MAX);
    // PostgreSQL keeps no zero bytes in texts.
    text + "\n" + &String::from_utf8_lossy(&body).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::IpAddr;
    use std::sync::{Arc, Mutex};

    use gantry_model::alert_webhook::{WebhookHeader, WebhookMethod};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::guard::Lookup;
    use super::*;

    const BODY: &str = r#"{"title":"down"}"#;

    fn webhook(url: &str) -> WebhookSpec {
        WebhookSpec {
            name: "chat".into(),
            description: None,
            url: url.into(),
            method: WebhookMethod::Post,
            skip_tls_verify: false,
            headers: vec![WebhookHeader { name: "X-Key".into(), value: "hush".into() }],
            template: String::new(),
            secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
        }
    }

    async fn post(poster: &Poster, webhook: &WebhookSpec) -> Posted {
        gantry_testkit::client::use_ring();
        let (id, time) = ("7250115".parse().unwrap(), Timestamp::from_seconds(1_800_000_000));
        poster.post(&Message { id, time, webhook, body: BODY }).await.unwrap()
    }

    fn allowing(networks: &str) -> Poster {
        Poster::new(networks.parse().unwrap(), TIMEOUT)
    }

    /// Answers every request with `answer`; what it was sent comes out of the other end.
    async fn receiver(address: &str, answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(BODY.as_bytes()) {
                    if stream.read_buf(&mut request).await.unwrap() == 0 {
                        break;
                    }
                }
                kept.lock().unwrap().push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (port, received)
    }

    const OK: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nthere";

    #[tokio::test]
    async fn a_request_is_signed_and_its_secrets_are_not_told() {
        let (port, received) = receiver("127.0.0.1:0", OK).await;
        let webhook = webhook(&format!("http://127.0.0.1:{port}/hook"));
        let posted = post(&allowing("127.0.0.1"), &webhook).await;
        assert_eq!((posted.fate, posted.brief.as_str()), (Fate::Delivered, "200 OK"));
        assert_eq!(posted.response, "HTTP/1.1 200 OK\ncontent-type: text/plain\n\nthere");
        let sent = received.lock().unwrap().remove(0);
        for line in [
            "POST /hook HTTP/1.1\r\n",
            "content-type: application/json\r\n",
            "x-key: hush\r\n",
            "webhook-id: 7250115\r\n",
            "webhook-timestamp: 1800000000\r\n",
            // Computed by another implementation of HMAC from the same key and text.
            "webhook-signature: v1,2p+P4kgKdTo5oQiYnT7Mrn4g7jYcKN8pOIiZqDCH/hE=\r\n",
        ] {
            assert!(sent.contains(line), "{line} is not in {sent}");
        }
        assert!(posted.request.ends_with(&format!("\n\n{BODY}")), "{}", posted.request);
        assert!(posted.request.contains("x-key: ******\n"), "{}", posted.request);
        assert!(!posted.request.contains("hush") && !posted.request.contains("v1,"));
    }

    #[tokio::test]
    async fn answers_decide_what_becomes_of_a_message() {
        for (answer, fate, brief) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Fate::Delivered, "204 No Content"),
            (
                "HTTP/1.1 503 Gone\r\ncontent-length: 0\r\n\r\n",
                Fate::Again,
                "503 Service Unavailable",
            ),
            ("HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n", Fate::Again, "429 Too Many Requests"),
            ("HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n", Fate::GivenUp, "404 Not Found"),
            // Redirects are not followed.
            (
                "HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                Fate::GivenUp,
                "302 Found",
            ),
            ("nonsense\r\n\r\n", Fate::Again, "no answer"),
            ("", Fate::Again, "no answer"),
        ] {
            let (port, received) = receiver("127.0.0.1:0", answer).await;
            let url = format!("http://127.0.0.1:{port}/");
            let posted = post(&allowing("127.0.0.1"), &webhook(&url)).await;
            assert_eq!(posted.fate, fate, "{answer}: {posted:?}");
            assert!(posted.brief.starts_with(brief), "{answer}: {posted:?}");
            assert_eq!(received.lock().unwrap().len(), 1, "{answer}");
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_where_it_must_not_go() {
        let (port, received) = receiver("127.0.0.1:0", OK).await;
        for host in
            ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "[::ffff:7f00:1]"]
        {
            let webhook = webhook(&format!("http://{host}:{port}/"));
            let posted = post(&allowing("10.0.0.0/8"), &webhook).await;
            assert_eq!(posted.fate, Fate::GivenUp, "{host}: {posted:?}");
            assert!(posted.brief.contains("a loopback address"), "{host}: {posted:?}");
        }
        assert!(received.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_gains_nothing() {
        let (port, received) = receiver("127.0.0.1:0", OK).await;
        let inside = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        // The first answer is good; every later one leads inside.
        let asked: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
        let counter = Arc::clone(&asked);
        let lookup: Lookup = Arc::new(move |host| {
            let mut asked = counter.lock().unwrap();
            let times = asked.entry(host).or_default();
            *times += 1;
            let found: IpAddr = [127, 0, 0, if *times == 1 { 1 } else { 2 }].into();
            Box::pin(async move { Ok(vec![found]) })
        });
        let poster = Poster::with(Guard::with("127.0.0.1".parse().unwrap(), lookup), TIMEOUT);
        let webhook = webhook(&format!("http://rebind.example.com:{port}/"));
        let posted = post(&poster, &webhook).await;
        assert_eq!(posted.fate, Fate::Delivered, "{posted:?}");
        assert_eq!(asked.lock().unwrap()["rebind.example.com"], 1, "it is asked once");
        let posted = post(&poster, &webhook).await;
        assert_eq!(posted.fate, Fate::GivenUp, "{posted:?}");
        assert!(posted.brief.contains("leads to 127.0.0.2"), "{posted:?}");
        assert_eq!(received.lock().unwrap().len(), 1);
        // Nobody has knocked at the door inside.
        let knock =
            std::future::poll_fn(|cx| std::task::Poll::Ready(inside.poll_accept(cx).is_ready()));
        assert!(!knock.await);
    }
}
