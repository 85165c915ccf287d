//! Following an API server: a list of all EndpointSlices, then the changes since.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::BytesMut;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::{
    Endpoints, Subscriptions,
    catalog::{Catalog, Metadata, Object},
    locked,
    registry::{Client, Namespaces, Registry},
};
use crate::sync::Pace;

/// Slices in one page of a list.
const PAGE: u32 = 500;
/// The server is asked to end a watch after this time; silence beyond means that it is gone.
const WATCH: Duration = Duration::from_secs(240);
const SILENCE: Duration = Duration::from_secs(300);
const LIST: Duration = Duration::from_secs(60);
/// Bounds memory, as the next two do. The largest clusters that Kubernetes supports have fewer.
const SLICES_MAX: usize = 100_000;
/// A page of full slices is about 15 MB.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// No slice has more than 1000 endpoints, which is about 400 kB.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Follows one registry.
pub struct Watcher {
    id: String,
    /// The resource's URL, with the selectors that the server applies.
    url: String,
    selectors: Vec<(&'static str, String)>,
    namespaces: Namespaces,
    credentials: Client,
    weight: u32,
    http: reqwest::Client,
    catalog: Mutex<Catalog>,
    state: Mutex<State>,
    subscriptions: Arc<Mutex<Subscriptions>>,
}

/// How it goes.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Whether the first list has come.
    pub synced: bool,
    /// What is wrong now, if anything.
    pub error: Option<String>,
}

enum Failure {
    /// The server no longer knows the version asked for.
    Gone,
    Other(String),
}

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.to_string())
    }
}

#[derive(Deserialize)]
struct Page {
    metadata: Metadata,
    items: Option<Vec<Object>>,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Object,
}

impl Watcher {
    pub fn new(
        id: &str,
        config: &Registry,
        subscriptions: Arc<Mutex<Subscriptions>>,
    ) -> Result<Self, String> {
        let namespaces = Namespaces::compile(config.namespace_selector.as_ref())?;
        let mut selectors = Vec::new();
        let within = match &namespaces {
            Namespaces::One(name) => format!("/namespaces/{name}"),
            Namespaces::Not(name) => {
                selectors.push(("fieldSelector", format!("metadata.namespace!={name}")));
                String::new()
            }
            Namespaces::All | Namespaces::Matching { .. } => String::new(),
        };
        if !config.label_selector.is_empty() {
            selectors.push(("labelSelector", config.label_selector.clone()));
        }
        Ok(Self {
            id: id.to_owned(),
            url: format!("{}/apis/discovery.k8s.io/v1{within}/endpointslices", config.origin()?),
            selectors,
            namespaces,
            credentials: config.client.clone(),
            weight: config.default_weight,
            http: config.http()?,
            catalog: Mutex::default(),
            state: Mutex::default(),
            subscriptions,
        })
    }

    /// Follows the server for ever.
    pub async fn run(&self) {
        let mut pace = Pace::default();
        let mut version: Option<String> = None;
        loop {
            let outcome = match &mut version {
                None => self.list().await.map(|listed| version = Some(listed)),
                Some(version) => self.watch(version, &mut pace).await,
            };
            let error = match outcome {
                Ok(()) => {
                    pace.reset();
                    locked(&self.state).error = None;
                    continue;
                }
                Err(Failure::Gone) => {
                    version = None;
                    pace.wait().await;
                    continue;
                }
                Err(Failure::Other(error)) => error,
            };
            tracing::warn!(registry = self.id, error, "a registry does not answer");
            locked(&self.state).error = Some(error);
            pace.wait().await;
        }
    }

    /// The nodes of a service.
    pub fn find(&self, service: &str, port: &str) -> Endpoints {
        Arc::new(locked(&self.catalog).find(service, port, self.weight))
    }

    pub fn state(&self) -> State {
        locked(&self.state).clone()
    }

    /// Forgets everything: its services have no nodes any more.
    pub fn forget(&self) {
        self.replace(Catalog::default());
    }

    /// Reads all slices; answers the version from which to watch.
    async fn list(&self) -> Result<String, Failure> {
        let mut catalog = Catalog::default();
        let mut query = vec![("limit", PAGE.to_string())];
        loop {
            let answer = tokio::time::timeout(LIST, async { body(self.get(&query).await?).await });
            let page = answer.await.map_err(|_| "the list takes too long")??;
            let Page { metadata, items } = serde_json::from_slice(&page)?;
            for object in items.into_iter().flatten() {
                if self.namespaces.contain(&object.metadata.namespace) {
                    catalog.put(object);
                }
            }
            if catalog.len() > SLICES_MAX {
                return Err(Failure::from("there are too many slices; select fewer by labels"));
            }
            match metadata.r#continue.filter(|token| !token.is_empty()) {
                Some(token) => query = vec![("limit", PAGE.to_string()), ("continue", token)],
                None => {
                    self.replace(catalog);
                    locked(&self.state).synced = true;
                    return Ok(metadata.resource_version);
                }
            }
        }
    }

    /// Applies changes until the server ends the watch.
    async fn watch(&self, version: &mut String, pace: &mut Pace) -> Result<(), Failure> {
        let query = [
            ("watch", "true".to_owned()),
            ("allowWatchBookmarks", "true".to_owned()),
            ("resourceVersion", version.clone()),
            ("timeoutSeconds", WATCH.as_secs().to_string()),
        ];
        let mut response = tokio::time::timeout(LIST, self.get(&query))
            .await
            .map_err(|_| "the watch takes too long")??;
        locked(&self.state).error = None;
        let mut buffer = BytesMut::new();
        let mut seen = 0;
        loop {
            let chunk = tokio::time::timeout(SILENCE, response.chunk());
            let chunk = chunk.await.map_err(|_| "the server keeps silent")??;
            let Some(chunk) = chunk else { break };
            pace.reset();
            seen += 1;
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                self.apply(serde_json::from_slice(&line)?, version)?;
            }
            if buffer.len() > EVENT_BYTES_MAX {
                return Err(Failure::from("an event is too large"));
            }
        }
        // A watch that ends at once must not be repeated at once.
        if seen == 0 {
            pace.wait().await;
        }
        Ok(())
    }

    fn apply(&self, event: Event, version: &mut String) -> Result<(), Failure> {
        let Event { r#type: kind, object } = event;
        if kind == "ERROR" {
            return Err(match object.code {
                Some(410) => Failure::Gone,
                code => Failure::Other(format!(
                    "the watch has failed with {}: {}",
                    code.unwrap_or(0),
                    object.message.unwrap_or_default()
                )),
            });
        }
        version.clone_from(&object.metadata.resource_version);
        if kind == "BOOKMARK" || !self.namespaces.contain(&object.metadata.namespace) {
            return Ok(());
        }
        let subscriptions = locked(&self.subscriptions);
        let mut catalog = locked(&self.catalog);
        let touched = match kind.as_str() {
            "ADDED" | "MODIFIED" => catalog.put(object),
            "DELETED" => catalog.remove(&object.metadata),
            _ => Vec::new(),
        };
        for service in touched {
            self.publish(&subscriptions, &catalog, &service);
        }
        Ok(())
    }

    fn replace(&self, fresh: Catalog) {
        let subscriptions = locked(&self.subscriptions);
        let mut catalog = locked(&self.catalog);
        *catalog = fresh;
        let own = |name: &String| name.strip_prefix(&self.id)?.strip_prefix('/').map(str::to_owned);
        for service in subscriptions.keys().filter_map(own) {
            self.publish(&subscriptions, &catalog, &service);
        }
    }

    /// Tells those who want to know the nodes of a service.
    fn publish(&self, subscriptions: &Subscriptions, catalog: &Catalog, service: &str) {
        let Some(ports) = subscriptions.get(&format!("{}/{service}", self.id)) else { return };
        for (port, sender) in ports {
            let found = catalog.find(service, port, self.weight);
            sender.send_if_modified(|known| {
                let differs = **known != found;
                if differs {
                    *known = Arc::new(found);
                }
                differs
            });
        }
    }

    /// Asks the server; errors other than success are failures.
    async fn get(&self, query: &[(&'static str, String)]) -> Result<Response, Failure> {
        let query = serde_urlencoded::to_string([&self.selectors, query].concat())?;
        let mut request = self.http.get(format!("{}?{query}", self.url));
        if let Some(token) = self.credentials.token().await? {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        match response.status() {
            StatusCode::GONE => Err(Failure::Gone),
            status if status.is_success() => Ok(response),
            status => Err(Failure::Other(format!("the server answers {status}"))),
        }
    }
}

/// The body of a page.
async fn body(mut response: Response) -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(Failure::from("a page of the list is too large"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
