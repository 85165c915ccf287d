//! Consumers and what they are recognised by.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use gantry_routing::shards::Shards;
use rpds::HashTrieMapSync;

use crate::chain::Links;

/// Somebody who calls APIs.
#[derive(Default)]
pub struct Consumer {
    pub name: String,
    pub custom_id: Option<String>,
    pub group_id: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// The consumer's own plugins, without those it authenticates by.
    pub links: Links,
}

/// One way a consumer authenticates.
pub struct Credential {
    pub consumer: Arc<Consumer>,
    /// The id of the credential resource; None if the consumer itself holds it.
    pub id: Option<String>,
    /// The key of the resource that holds it, such as `/apisix/consumers/jack`.
    pub owner: Arc<str>,
    pub(crate) secret: Box<dyn Any + Send + Sync>,
}

impl Credential {
    /// What the plugin's `identify` made of the configuration.
    #[must_use]
    pub fn secret<T: 'static>(&self) -> Option<&T> {
        self.secret.downcast_ref()
    }
}

/// Who is meant by one key.
#[derive(Clone)]
struct Holders {
    newest: Arc<Credential>,
    /// Only if the configuration repeats a key; oldest first.
    others: Vec<Arc<Credential>>,
}

impl Holders {
    /// Oldest first.
    fn all(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.others.iter().chain([&self.newest])
    }

    /// None if there are no credentials.
    fn new(mut all: Vec<Arc<Credential>>) -> Option<Self> {
        Some(Self { newest: all.pop()?, others: all })
    }
}

/// All consumers, found by name or by what a request presents. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Consumers {
    named: HashTrieMapSync<String, Arc<Consumer>>,
    /// By plugin, then by what a request presents.
    presented: HashTrieMapSync<&'static str, Shards<Holders>>,
}

impl Consumers {
    /// Finds a consumer by its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<Consumer>> {
        self.named.get(name).cloned()
    }

    /// Finds who presents this key to this plugin; the last one loaded if several do.
    #[must_use]
    pub fn credential(&self, plugin: &str, key: &str) -> Option<Arc<Credential>> {
        self.presented.get(plugin)?.get(key).map(|holders| Arc::clone(&holders.newest))
    }

    /// The resources that give this key to this plugin; more than one is a mistake.
    #[must_use]
    pub fn owners(&self, plugin: &str, key: &str) -> Vec<Arc<str>> {
        let holders = self.presented.get(plugin).and_then(|keys| keys.get(key));
        let all = holders.into_iter().flat_map(Holders::all);
        all.map(|holder| Arc::clone(&holder.owner)).collect()
    }

    /// Adds or replaces a consumer.
    pub fn insert(&mut self, consumer: Arc<Consumer>) {
        self.named.insert_mut(consumer.name.clone(), consumer);
    }

    /// Forgets a consumer; its credentials are removed one by one.
    pub fn remove(&mut self, name: &str) {
        self.named.remove_mut(name);
    }

    /// Adds a credential.
    pub fn present(&mut self, plugin: &'static str, key: &str, credential: Arc<Credential>) {
        if !self.presented.contains_key(plugin) {
            self.presented.insert_mut(plugin, Shards::default());
        }
        let Some(keys) = self.presented.get_mut(plugin) else { return };
        let others = keys.get(key).map(|known| known.all().cloned().collect());
        let others = others.unwrap_or_default();
        keys.insert(&key.into(), Holders { newest: credential, others });
    }

    /// Forgets the credential that this resource gave for a key.
    pub fn withdraw(&mut self, plugin: &'static str, key: &str, owner: &str) {
        let Some(keys) = self.presented.get_mut(plugin) else { return };
        let Some(holders) = keys.get(key) else { return };
        let left = holders.all().filter(|holder| &*holder.owner != owner).cloned().collect();
        match Holders::new(left) {
            Some(left) => keys.insert(&key.into(), left),
            None => keys.remove(key),
        }
    }
}
