//! Upstreams whose nodes others know: a Kubernetes API server, or the name system.

mod catalog;
mod kubernetes;
mod registry;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Node, Resolver, Upstream};
use crate::plugin::Background;
use kubernetes::Watcher;
pub use registry::Registry;

/// Pause between two looks at a name.
const LOOK: Duration = Duration::from_secs(5);

/// The nodes of a service.
pub type Endpoints = Arc<Vec<Endpoint>>;

/// One node of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub weight: u32,
}

/// Where an upstream's nodes come from.
pub enum Source {
    Registry(watch::Receiver<Endpoints>),
    /// Every address of a name, at this port.
    Name(String, u16),
}

/// Who wants to know what: services by `registry/namespace/name`, in them ports by name.
type Subscriptions = HashMap<String, HashMap<String, watch::Sender<Endpoints>>>;

/// The registries of the configuration, and what is asked of them.
#[derive(Default)]
pub struct Directory {
    registries: Mutex<BTreeMap<String, Running>>,
    subscriptions: Arc<Mutex<Subscriptions>>,
}

struct Running {
    config: Registry,
    watcher: Arc<Watcher>,
    _stop: DropGuard,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Directory {
    /// Puts a registry in force; nothing happens if it is the one that is there.
    pub fn put(&self, id: &str, config: Registry, background: &Background) -> Result<(), String> {
        let mut registries = locked(&self.registries);
        if registries.get(id).is_some_and(|running| running.config == config) {
            return Ok(());
        }
        let watcher = Arc::new(Watcher::new(id, &config, Arc::clone(&self.subscriptions))?);
        let stop = CancellationToken::new();
        let (task, stopped) = (Arc::clone(&watcher), stop.clone().cancelled_owned());
        background.spawn(async move {
            tokio::select! { () = task.run() => {}, () = stopped => {} }
        });
        registries.insert(id.to_owned(), Running { config, watcher, _stop: stop.drop_guard() });
        Ok(())
    }

    /// Forgets a registry; its services have no nodes from now on.
    pub fn remove(&self, id: &str) {
        if let Some(running) = locked(&self.registries).remove(id) {
            running.watcher.forget();
        }
    }

    /// The nodes of a service, `registry/namespace/name:port`. They may come later, also if there is
    /// no such registry yet.
    pub fn subscribe(&self, name: &str) -> Result<watch::Receiver<Endpoints>, String> {
        let wrong = || format!("`service_name`: `{name}` is not `registry/namespace/name:port`");
        let (service, port) = name.rsplit_once(':').ok_or_else(wrong)?;
        let (registry, in_registry) = service.split_once('/').ok_or_else(wrong)?;
        if in_registry.split('/').count() != 2 {
            return Err(wrong());
        }
        // Locked in this order everywhere: registries, then subscriptions, then a catalog.
        let registries = locked(&self.registries);
        let mut subscriptions = locked(&self.subscriptions);
        if subscriptions.len() == subscriptions.capacity() {
            subscriptions.retain(|_, ports| {
                ports.retain(|_, sender| sender.receiver_count() > 0);
                !ports.is_empty()
            });
        }
        let ports = subscriptions.entry(service.to_owned()).or_default();
        if let Some(sender) = ports.get(port) {
            return Ok(sender.subscribe());
        }
        let known = registries.get(registry).map(|running| running.watcher.find(in_registry, port));
        let (sender, receiver) = watch::channel(known.unwrap_or_default());
        ports.insert(port.to_owned(), sender);
        Ok(receiver)
    }

    /// The state of every registry.
    #[must_use]
    pub fn describe(&self) -> Value {
        let registries = locked(&self.registries);
        let states = registries.iter().map(|(id, running)| {
            let state = running.watcher.state();
            json!({"id": id, "synced": state.synced, "error": state.error})
        });
        states.collect()
    }
}

/// Keeps an upstream's nodes as `source` says, until nobody needs the upstream.
pub async fn follow(upstream: Weak<Upstream>, source: Source, resolver: Resolver) {
    match source {
        Source::Registry(mut endpoints) => {
            while endpoints.changed().await.is_ok() {
                let found = Arc::clone(&endpoints.borrow_and_update());
                let Some(upstream) = upstream.upgrade() else { return };
                upstream.fill(nodes(&found));
            }
        }
        Source::Name(name, port) => {
            let mut known = Vec::new();
            loop {
                let mut addresses = resolver.addresses(&name).await;
                addresses.sort_unstable();
                let Some(upstream) = upstream.upgrade() else { return };
                // An old answer is better than none.
                if !addresses.is_empty() && addresses != known {
                    let node = |ip: &std::net::IpAddr| Node::new(ip.to_string(), port);
                    upstream.fill(addresses.iter().map(node).collect());
                    known = addresses;
                }
                drop(upstream);
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// The nodes of a service, for an upstream.
#[must_use]
pub fn nodes(endpoints: &Endpoints) -> Vec<Node> {
    let node = |endpoint: &Endpoint| Node {
        weight: endpoint.weight,
        ..Node::new(endpoint.host.clone(), endpoint.port)
    };
    endpoints.iter().map(node).collect()
}
