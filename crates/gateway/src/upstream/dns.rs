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
use tokio::sync::OnceCell;

/// How long an answer is taken as fresh. The system's resolver does not tell the record's own time.
const FRESH: Duration = Duration::from_secs(10);
/// How long a name nobody could resolve is not asked for again.
const FAILED: Duration = Duration::from_secs(1);
/// Bounds memory when configuration names ever new hosts.
const NAMES_MAX: usize = 10_000;

/// How long the system's resolver may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One name. Whoever comes while it is asked for waits for the same answer.
#[derive(Default)]
struct Known {
    answer: OnceCell<Answer>,
    /// A newer answer is on its way.
    renewing: AtomicBool,
    turn: AtomicUsize,
}

struct Answer {
    /// Empty if the name could not be resolved.
    addresses: Vec<IpAddr>,
    at: Instant,
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
        let addresses = known.addresses();
        let turn = known.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn % addresses.len().max(1)).copied()
    }

    /// All addresses of the name.
    pub async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.know(name).await.addresses().to_vec()
    }

    async fn know(&self, name: &str) -> Arc<Known> {
        let mut known = self.known.load().get(name).cloned();
        if let Some(Answer { addresses, at }) = known.as_ref().and_then(|known| known.answer.get())
        {
            if addresses.is_empty() && at.elapsed() > FAILED {
                known = Some(self.put(name, known.as_ref(), Arc::default()));
            } else if at.elapsed() > FRESH {
                self.renew(name, known.as_ref());
            }
        }
        let known = known.unwrap_or_else(|| self.put(name, None, Arc::default()));
        known.answer.get_or_init(|| ask(name, None)).await;
        known
    }

    /// Asks behind the back of the request, which takes the answer before; that outlives a failure.
    fn renew(&self, name: &str, before: Option<&Arc<Known>>) {
        let Some(before) = before.filter(|it| !it.renewing.swap(true, Ordering::Relaxed)) else {
            return;
        };
        let (resolver, name, before) = (self.clone(), name.to_owned(), Arc::clone(before));
        tokio::spawn(async move {
            let answer = OnceCell::new_with(Some(ask(&name, Some(&before)).await));
            resolver.put(&name, Some(&before), Arc::new(Known { answer, ..Known::default() }));
        });
    }

    /// Puts one in the place of another, unless somebody else has done so already; answers what is
    /// there then.
    fn put(&self, name: &str, before: Option<&Arc<Known>>, new: Arc<Known>) -> Arc<Known> {
        let mut there = Arc::clone(&new);
        self.known.rcu(|names| {
            let found = names.get(name);
            if let Some(found) = found.filter(|_| found.map(Arc::as_ptr) != before.map(Arc::as_ptr))
            {
                there = Arc::clone(found);
                return Arc::clone(names);
            }
            there = Arc::clone(&new);
            let mut names = if found.is_some() || names.size() < NAMES_MAX {
                (**names).clone()
            } else {
                HashTrieMapSync::new_sync()
            };
            names.insert_mut(name.to_owned(), Arc::clone(&new));
            Arc::new(names)
        });
        there
    }
}

impl Known {
    fn addresses(&self) -> &[IpAddr] {
        self.answer.get().map_or(&[], |answer| &answer.addresses)
    }
}

/// Asks the system; an answer before outlives a failure.
async fn ask(name: &str, before: Option<&Known>) -> Answer {
    let found = match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect::<Vec<_>>()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the resolver does not answer".to_owned()),
    };
    let mut addresses = found.unwrap_or_else(|error| {
        tracing::warn!(name, error, "a node's name could not be resolved");
        before.map_or(&[][..], Known::addresses).to_vec()
    });
    // IPv4 where there is a choice, as APISIX does.
    if addresses.iter().any(IpAddr::is_ipv4) {
        addresses.retain(IpAddr::is_ipv4);
    }
    Answer { addresses, at: Instant::now() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Arc<Known> {
        let at = Instant::now().checked_sub(FAILED * 2).unwrap();
        let answer = OnceCell::new_with(Some(Answer { addresses: Vec::new(), at }));
        Arc::new(Known { answer, ..Known::default() })
    }

    #[tokio::test]
    async fn those_who_ask_for_the_same_name_wait_for_one_answer() {
        let resolver = Resolver::default();
        let first = resolver.put("localhost", None, failed());
        // Both find the failure, one asks.
        let one = resolver.put("localhost", Some(&first), Arc::default());
        let other = resolver.put("localhost", Some(&first), Arc::default());
        assert!(Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &first));
        let (mine, yours) = tokio::join!(resolver.know("localhost"), resolver.know("localhost"));
        assert!(Arc::ptr_eq(&mine, &yours) && Arc::ptr_eq(&mine, &one));
        assert!(!mine.addresses().is_empty());
    }

    #[test]
    fn a_full_cache_keeps_its_names_when_one_of_them_is_renewed() {
        let resolver = Resolver::default();
        let names = (0..NAMES_MAX).map(|number| (number.to_string(), Arc::default()));
        resolver.known.store(Arc::new(names.collect()));
        let first = resolver.known.load().get("0").cloned();
        resolver.put("0", first.as_ref(), Arc::default());
        assert_eq!(resolver.known.load().size(), NAMES_MAX);
        resolver.put("one more", None, Arc::default());
        assert_eq!(resolver.known.load().size(), 1);
    }
}
