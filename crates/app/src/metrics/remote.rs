//! Servers of others that keep time series: where they are and what they want to be shown.

use std::error::Error as StdError;
use std::time::Duration;

use gantry_model::{Error, Result, Secret};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};

/// Longest that a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Servers that speak Prometheus, beside the own store or in its place.
#[derive(Clone, Debug, Default)]
pub struct RemoteOptions {
    /// Where everything goes that gateways report: an URL of Prometheus remote write.
    pub write: Option<String>,
    /// Base of the server that queries are answered from; `/api/v1/query_range` is added.
    pub query: Option<String>,
    /// Headers of each call to either, such as `Authorization`.
    pub headers: Vec<(String, Secret)>,
}

/// One of these servers.
pub(crate) struct Remote {
    client: Client,
    /// It may hold a name and a password.
    url: Url,
    headers: HeaderMap,
}

impl Remote {
    /// `name` is the setting, for errors.
    pub fn new(name: &str, url: &str, headers: &[(String, Secret)]) -> Result<Self> {
        let url: Url = url.parse().map_err(|error| invalid(name, &format!("an URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(invalid(name, "an URL with http or https"));
        }
        let mut map = HeaderMap::new();
        for (key, value) in headers {
            let key = HeaderName::try_from(key.as_str())
                .map_err(|_| invalid("metrics-header", "`Name: value`"))?;
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| invalid("metrics-header", "`Name: value`"))?;
            value.set_sensitive(true);
            map.append(key, value);
        }
        // No redirects: what is shown to this server is not for another.
        let client = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(Error::internal)?;
        Ok(Self { client, url, headers: map })
    }

    /// A call to the URL, with `path` added to the end of its own.
    pub fn post(&self, path: &str) -> RequestBuilder {
        let mut url = self.url.clone();
        if !path.is_empty() {
            url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        }
        self.client.post(url).headers(self.headers.clone())
    }
}

fn invalid(name: &str, rule: &str) -> Error {
    Error::invalid_field(
        name,
        format!("must be {rule}"),
        "https://prometheus.example.com/api/v1/write",
    )
}

/// Why a call failed, without its URL, which may hold a password.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut links = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(link) = next {
        links.push(link.to_string());
        next = link.source();
    }
    if error.is_timeout() {
        links.insert(0, "it took too long".to_owned());
    }
    if links.is_empty() { "no answer".to_owned() } else { links.join(": ") }
}
