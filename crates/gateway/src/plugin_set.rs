//! The plugins that one or many routes run, and what becomes of them for a consumer.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use gantry_routing::plugin as catalog;
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
    /// Merged with the plugins of consumers that have some of their own; by the consumer's name.
    by_consumer: Cache,
    /// Merged with the plugins of groups; by the group's id.
    by_group: Cache,
}

/// What was merged, made when first needed.
type Cache = ArcSwapOption<HashTrieMapSync<String, Merged>>;

/// The plugins of a set together with those of a consumer and its group.
#[derive(Clone)]
pub struct Merged {
    /// None if it has no plugins of its own.
    consumer: Option<Arc<Consumer>>,
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
        Self { links, chain, ..Self::default() }
    }

    /// The plugins for a request of this consumer: consumer before group before this set.
    pub fn merged(&self, consumer: &Arc<Consumer>, group: Option<&Arc<Links>>) -> Merged {
        let own = Some(consumer).filter(|consumer| !consumer.links.is_empty());
        let (cache, name) = match own {
            Some(consumer) => (&self.by_consumer, &consumer.name),
            None => (&self.by_group, consumer.group_id.as_ref().unwrap_or(&consumer.name)),
        };
        let same = |merged: &&Merged| {
            merged.consumer.as_ref().map(Arc::as_ptr) == own.map(Arc::as_ptr)
                && merged.group.as_ref().map(Arc::as_ptr) == group.map(Arc::as_ptr)
        };
        let known = cache.load();
        if let Some(merged) = known.as_ref().and_then(|known| known.get(name)).filter(same) {
            return merged.clone();
        }
        let merged = self.merge(own, group);
        cache.rcu(|known| {
            let mut known = match known {
                Some(known) if known.size() < MERGED_MAX => (**known).clone(),
                _ => HashTrieMapSync::new_sync(),
            };
            known.insert_mut(name.clone(), merged.clone());
            Some(Arc::new(known))
        });
        merged
    }

    fn merge(&self, consumer: Option<&Arc<Consumer>>, group: Option<&Arc<Links>>) -> Merged {
        let none = Links::new();
        let group_links = group.map_or(&none, |group| &**group);
        let own_links = consumer.map_or(&none, |consumer| &consumer.links);
        let mut added: Links = group_links.clone();
        added.extend(own_links.iter().map(|(name, link)| (*name, Arc::clone(link))));
        // Nobody authenticates a second time.
        let is_auth = |name| catalog::get(name).is_some_and(catalog::Plugin::is_auth);
        added.retain(|name, _| !self.links.contains_key(name) && !is_auth(name));
        Merged {
            consumer: consumer.cloned(),
            group: group.cloned(),
            chain: Arc::new(Chain::merge([&self.links, group_links, own_links])),
            added: Arc::new(Chain::merge([&added])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_without_plugins_of_their_own_share_what_their_group_makes() {
        let (set, group) = (PluginSet::new(Links::new()), Arc::new(Links::new()));
        let consumer = |name: &str| {
            let (name, group_id) = (name.to_owned(), Some("g".to_owned()));
            Arc::new(Consumer { name, group_id, ..Consumer::default() })
        };
        let one = set.merged(&consumer("one"), Some(&group));
        let two = set.merged(&consumer("two"), Some(&group));
        assert!(Arc::ptr_eq(&one.chain, &two.chain));
        let other = set.merged(&consumer("two"), Some(&Arc::default()));
        assert!(!Arc::ptr_eq(&one.chain, &other.chain), "the group has changed");
    }
}
