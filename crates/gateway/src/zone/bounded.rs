//! A map whose contents together may not weigh more than so much. Who makes room is found by second
//! chance: in the order of arrival, but whoever was used since is passed over once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use hashbrown::HashMap;

/// The map. Looking something up does not keep others from it.
pub struct Bounded<V> {
    room: usize,
    inner: RwLock<Inner<V>>,
}

struct Inner<V> {
    slots: HashMap<Arc<str>, Slot<V>, ahash::RandomState>,
    /// Arrivals in order; those whose number is not in the map any more are passed over.
    queue: VecDeque<(Arc<str>, u64)>,
    arrivals: u64,
    weight: usize,
}

struct Slot<V> {
    value: V,
    weight: usize,
    arrival: u64,
    used: AtomicBool,
}

impl<V: Clone> Bounded<V> {
    /// An empty map for at most this weight.
    pub fn new(room: usize) -> Self {
        let inner =
            Inner { slots: HashMap::default(), queue: VecDeque::new(), arrivals: 0, weight: 0 };
        Self { room, inner: RwLock::new(inner) }
    }

    /// Whether something of this weight has room at all.
    pub fn fits(&self, weight: usize) -> bool {
        weight <= self.room
    }

    pub fn find(&self, key: &str) -> Option<V> {
        let inner = self.read();
        let slot = inner.slots.get(key)?;
        slot.used.store(true, Ordering::Relaxed);
        Some(slot.value.clone())
    }

    /// Puts something in, in place of what was there. Answers who had to go for it.
    pub fn put(&self, key: &str, value: V, weight: usize) -> Vec<Arc<str>> {
        let key: Arc<str> = key.into();
        let mut inner = self.write();
        inner.remove(&key);
        inner.arrivals += 1;
        let arrival = inner.arrivals;
        let slot = Slot { value, weight, arrival, used: AtomicBool::new(false) };
        inner.weight = inner.weight.saturating_add(weight);
        inner.slots.insert(Arc::clone(&key), slot);
        inner.queue.push_back((key, arrival));
        inner.make_room(self.room)
    }

    pub fn remove(&self, key: &str) -> bool {
        self.write().remove(key)
    }

    /// What everything weighs.
    #[cfg(test)]
    pub fn weight(&self) -> usize {
        self.read().weight
    }

    /// How long the queue is.
    #[cfg(test)]
    pub fn queued(&self) -> usize {
        self.read().queue.len()
    }

    // The map is whole at every moment, so a panic elsewhere does not spoil it.
    fn read(&self) -> RwLockReadGuard<'_, Inner<V>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<V>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Inner<V> {
    fn remove(&mut self, key: &str) -> bool {
        let Some(slot) = self.slots.remove(key) else { return false };
        self.weight = self.weight.saturating_sub(slot.weight);
        if self.queue.len() > 2 * self.slots.len() + 64 {
            let slots = &self.slots;
            self.queue.retain(|(key, arrival)| {
                slots.get(key).is_some_and(|slot| slot.arrival == *arrival)
            });
        }
        true
    }

    fn make_room(&mut self, room: usize) -> Vec<Arc<str>> {
        let mut gone = Vec::new();
        while self.weight > room {
            let Some((key, arrival)) = self.queue.pop_front() else { break };
            let Some(slot) = self.slots.get(&key).filter(|slot| slot.arrival == arrival) else {
                continue;
            };
            if slot.used.swap(false, Ordering::Relaxed) {
                self.queue.push_back((key, arrival));
                continue;
            }
            self.remove(&key);
            gone.push(key);
        }
        gone
    }
}
