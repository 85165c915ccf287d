//! Names of nodes. Requests read what is known; only the first request for a name waits.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;

/// How long an answer is taken as fresh. The system's resolver does not tell the record's own time.
const FRESH: Duration = Duration::from_secs(10);
/// How long a name nobody could resolve is not asked for again.
const FAILED: Duration = Duration::from_secs(1);
/// Bounds memory when configuration names ever new hosts.
const NAMES_MAX: usize = 10_000;

struct Known {
    /// Empty if the name could not be resolved.
    addresses: Vec<IpAddr>,
    at: Instant,
    asking: AtomicBool,
    turn: AtomicUsize,
}

/// A cache in front of the system's resolver. Clones share it.
#[derive(Clone, Default)]
pub struct Resolver {
    known: Arc<ArcSwap<HashTrieMapSync<String, Arc<Known>>>>,
}

impl Resolver {
    /// One address of the name, taking turns if it has several. None if it has none.
    pub async fn resolve(&self, name: &str) -> Option<IpAddr> {
        let known = self.know(name).await;
        let turn = known.turn.fetch_add(1, Ordering::Relaxed);
        known.addresses.get(turn % known.addresses.len().max(1)).copied()
    }

    /// All addresses of the name.
    pub async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.know(name).await.addresses.clone()
    }

    async fn know(&self, name: &str) -> Arc<Known> {
        let known = self.known.load().get(name).cloned();
        match known {
            Some(known) if known.addresses.is_empty() && known.at.elapsed() > FAILED => {
                self.ask(name, None).await
            }
            Some(known) => {
                if known.at.elapsed() > FRESH && !known.asking.swap(true, Ordering::Relaxed) {
                    self.ask_behind(name.to_owned(), Arc::clone(&known));
                }
                known
            }
            None => self.ask(name, None).await,
        }
    }

    fn ask_behind(&self, name: String, before: Arc<Known>) {
        let resolver = self.clone();
        tokio::spawn(async move { resolver.ask(&name, Some(&before)).await });
    }

    /// Asks the system; an old answer outlives a failure.
    async fn ask(&self, name: &str, before: Option<&Known>) -> Arc<Known> {
        let mut addresses: Vec<IpAddr> = match tokio::net::lookup_host((name, 0)).await {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(error) => {
                tracing::warn!(name, %error, "a node's name could not be resolved");
                before.map(|before| before.addresses.clone()).unwrap_or_default()
            }
        };
        // IPv4 where there is a choice, as APISIX does.
        if addresses.iter().any(IpAddr::is_ipv4) {
            addresses.retain(IpAddr::is_ipv4);
        }
        let known = Arc::new(Known {
            addresses,
            at: Instant::now(),
            asking: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        });
        self.known.rcu(|names| {
            let mut names = if names.size() < NAMES_MAX {
                (**names).clone()
            } else {
                HashTrieMapSync::new_sync()
            };
            names.insert_mut(name.to_owned(), Arc::clone(&known));
            names
        });
        known
    }
}
