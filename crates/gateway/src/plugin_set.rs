//! The plugins that one or many routes run, and what becomes of them for a consumer.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwapOption;
use rpds::HashTrieMapSync;

use crate::{
    chain::{Chain, Links},
    consumer::Consumer,
};

/// Plugins by name and in order. Routes that add none of their own share the set of their service.
#[derive(Default)]
pub struct PluginSet {
    pub links: Links,
    pub chain: Arc<Chain>,
    /// Merged with the plugins of consumers, made when first needed; by the consumer's name.
    merged: ArcSwapOption<HashTrieMapSync<String, Merged>>,
}

/// The plugins of a set together with those of a consumer and its group.
#[derive(Clone)]
pub struct Merged {
    consumer: Arc<Consumer>,
    group: Option<Arc<Links>>,
    pub chain: Arc<Chain>,
    /// The plugins the set itself does not have; their rewrite phase is still to come.
    pub added: Arc<Chain>,
}

/// Bounds the memory of one set; beyond it the merged chains are made anew.
const MERGED_MAX: usize = 4096;

impl PluginSet {
    #[must_use]
    pub fn new(links: Links) -> Self {
        let chain = Arc::new(Chain::merge([&links]));
        Self { links, chain, merged: ArcSwapOption::empty() }
    }

    /// The plugins for a request of this consumer: consumer before group before this set.
    pub fn merged(&self, consumer: &Arc<Consumer>, group: Option<&Arc<Links>>) -> Merged {
        let same = |merged: &&Merged| {
            Arc::ptr_eq(&merged.consumer, consumer)
                && merged.group.as_ref().map(Arc::as_ptr) == group.map(Arc::as_ptr)
        };
        let known = self.merged.load();
        let known = known.as_ref().and_then(|known| known.get(&consumer.name));
        if let Some(merged) = known.filter(same) {
            return merged.clone();
        }
        let merged = self.merge(consumer, group);
        self.merged.rcu(|known| {
            let mut known = match known {
                Some(known) if known.size() < MERGED_MAX => (**known).clone(),
                _ => HashTrieMapSync::new_sync(),
            };
            known.insert_mut(consumer.name.clone(), merged.clone());
            Some(Arc::new(known))
        });
        merged
    }

    fn merge(&self, consumer: &Arc<Consumer>, group: Option<&Arc<Links>>) -> Merged {
        let none = Links::new();
        let group_links = group.map_or(&none, |group| &**group);
        let has: BTreeSet<_> = self.links.keys().copied().collect();
        let mut added: Links = group_links.clone();
        added.extend(consumer.links.iter().map(|(name, link)| (*name, Arc::clone(link))));
        added.retain(|name, _| !has.contains(name));
        Merged {
            consumer: Arc::clone(consumer),
            group: group.cloned(),
            chain: Arc::new(Chain::merge([&self.links, group_links, &consumer.links])),
            added: Arc::new(Chain::merge([&added])),
        }
    }
}
