//! Choosing a node. Nothing here waits: positions and counts are atomics.

use std::{
    cmp::Reverse,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::Node;
use crate::template::Template;

/// What a consistent hash is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum HashOn {
    /// The value of a variable; headers and cookies are `http_…` and `cookie_…`.
    Variable(String),
    /// The name of the consumer.
    Consumer,
    /// A template such as `$remote_addr$arg_user`.
    Combination(Template),
}

/// Chooses nodes for one upstream; tiers of larger priority are exhausted first.
pub struct Balancer {
    tiers: Vec<(Range<usize>, Algorithm)>,
}

enum Algorithm {
    RoundRobin(Turns),
    Hash { on: HashOn, ring: Ring },
    LeastBusy(Vec<(u32, Arc<AtomicUsize>)>),
}

/// Counts a request as in flight on its node until dropped.
pub struct Lease(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Balancer {
    /// Every node in turn, as often as its weight says.
    #[must_use]
    pub fn round_robin(nodes: &[Node]) -> Self {
        Self::tiered(nodes, |tier| Algorithm::RoundRobin(Turns::new(&weights(tier))))
    }

    /// The same node for the same key; other keys do not move when a node comes or goes.
    #[must_use]
    pub fn hash(nodes: &[Node], on: &HashOn) -> Self {
        Self::tiered(nodes, |tier| Algorithm::Hash { on: on.clone(), ring: Ring::new(tier) })
    }

    /// The node with the fewest requests in flight for its weight.
    #[must_use]
    pub fn least_busy(nodes: &[Node]) -> Self {
        Self::tiered(nodes, |tier| {
            Algorithm::LeastBusy(
                weights(tier).into_iter().map(|weight| (weight, Arc::default())).collect(),
            )
        })
    }

    fn tiered(nodes: &[Node], algorithm: impl Fn(&[Node]) -> Algorithm) -> Self {
        let mut tiers = Vec::new();
        let mut start = 0;
        for tier in nodes.chunk_by(|one, other| one.priority == other.priority) {
            tiers.push((start..start + tier.len(), algorithm(tier)));
            start += tier.len();
        }
        Self { tiers }
    }

    /// What the key of [`Balancer::choose`] is made of; None if it is not needed.
    #[must_use]
    pub fn hash_on(&self) -> Option<&HashOn> {
        match self.tiers.first() {
            Some((_, Algorithm::Hash { on, .. })) => Some(on),
            _ => None,
        }
    }

    /// The index of the next node to try, and what to hold while it works. None when all were tried.
    pub fn choose(&self, key: &str, tried: &[usize]) -> Option<(usize, Option<Lease>)> {
        self.tiers.iter().find_map(|(range, algorithm)| {
            let free = |index: &usize| !tried.contains(&(range.start + index));
            let (index, lease) = match algorithm {
                Algorithm::RoundRobin(turn) => (turn.next(free)?, None),
                Algorithm::Hash { ring, .. } => (ring.find(key, free)?, None),
                Algorithm::LeastBusy(nodes) => {
                    let (index, lease) = least_busy(nodes, free)?;
                    (index, Some(lease))
                }
            };
            Some((range.start + index, lease))
        })
    }
}

/// The weights in force: all equal if all are zero.
fn weights(nodes: &[Node]) -> Vec<u32> {
    let idle = nodes.iter().all(|node| node.weight == 0);
    nodes.iter().map(|node| if idle { 1 } else { node.weight }).collect()
}

/// Weighted turns. A cycle has one slot for each unit of weight; slots are visited in strides that
/// share no factor with the cycle, so that heavy nodes spread out and every cycle is exact.
pub struct Turns {
    /// The first slot behind each node's own.
    ends: Vec<u64>,
    stride: u64,
    turn: AtomicU64,
}

impl Turns {
    /// Turns among as many as there are weights.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let unit = weights.iter().fold(0, |unit, weight| gcd(unit, u64::from(*weight))).max(1);
        let ends: Vec<u64> = weights
            .iter()
            .scan(0, |end, weight| {
                *end += u64::from(*weight) / unit;
                Some(*end)
            })
            .collect();
        let cycle = ends.last().copied().unwrap_or(0);
        Self { ends, stride: stride(cycle), turn: AtomicU64::new(rand::random_range(0..1 << 20)) }
    }

    /// The index whose turn it is, or the next one that is free. None without any weight.
    pub fn next(&self, free: impl Fn(&usize) -> bool) -> Option<usize> {
        let cycle = self.ends.last().copied().filter(|cycle| *cycle > 0)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % cycle;
        let slot = (u128::from(turn) * u128::from(self.stride) % u128::from(cycle)) as u64;
        let index = self.ends.partition_point(|end| *end <= slot);
        if free(&index) {
            return Some(index);
        }
        // A retry: walk on from the node whose turn it was, over nodes that have a weight.
        let count = self.ends.len();
        let has_weight = |index: &usize| {
            let before = index.checked_sub(1).and_then(|index| self.ends.get(index));
            self.ends.get(*index) != before.or(Some(&0))
        };
        (1..count).map(|step| (index + step) % count).filter(has_weight).find(free)
    }
}

/// About the golden section of the cycle, without a common factor.
fn stride(cycle: u64) -> u64 {
    let golden = (cycle as f64 * 0.618).round() as u64;
    (golden.max(1)..=cycle.max(1)).find(|stride| gcd(*stride, cycle) == 1).unwrap_or(1)
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// Points of all nodes on a circle of hashes.
struct Ring {
    points: Vec<(u64, usize)>,
}

/// Points for each unit of weight; 160 is what ketama uses.
const POINTS: u32 = 160;
/// Bounds the ring when weights have no common divisor.
const POINTS_MAX: u64 = 100_000;

impl Ring {
    fn new(nodes: &[Node]) -> Self {
        let weights = weights(nodes);
        let unit = weights.iter().fold(0, |unit, weight| gcd(unit, u64::from(*weight))).max(1);
        let total: u64 = weights.iter().map(|weight| u64::from(*weight) / unit).sum();
        let points = u64::from(POINTS).min(POINTS_MAX / total.max(1)).max(1);
        let mut ring: Vec<(u64, usize)> = nodes
            .iter()
            .zip(weights)
            .enumerate()
            .flat_map(|(index, (node, weight))| {
                (0..points * (u64::from(weight) / unit)).map(move |point| {
                    (hash(&format!("{}\0{}\0{point}", node.host, node.port)), index)
                })
            })
            .collect();
        ring.sort_unstable();
        Self { points: ring }
    }

    fn find(&self, key: &str, free: impl Fn(&usize) -> bool) -> Option<usize> {
        let hash = hash(key);
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index).find(free)
    }
}

/// FNV-1a with a final mix: the same on every gateway and in every version.
fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

fn least_busy(
    nodes: &[(u32, Arc<AtomicUsize>)],
    free: impl Fn(&usize) -> bool,
) -> Option<(usize, Lease)> {
    let load = |(weight, busy): &(u32, Arc<AtomicUsize>)| {
        // Larger means more load; weights are at least one here.
        Reverse((u64::from(*weight) << 32) / (busy.load(Ordering::Relaxed) as u64 + 1))
    };
    let (index, (_, busy)) = nodes
        .iter()
        .enumerate()
        .filter(|(index, (weight, _))| *weight > 0 && free(index))
        .min_by_key(|(_, node)| load(node))?;
    busy.fetch_add(1, Ordering::Relaxed);
    Some((index, Lease(Arc::clone(busy))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(weights: &[(u32, i64)]) -> Vec<Node> {
        let node = |(index, (weight, priority)): (usize, &(u32, i64))| Node {
            host: format!("10.0.0.{index}"),
            port: 80,
            ip: None,
            weight: *weight,
            priority: *priority,
        };
        weights.iter().enumerate().map(node).collect()
    }

    fn counts(balancer: &Balancer, nodes: usize, turns: usize) -> Vec<usize> {
        let mut counts = vec![0; nodes];
        for _ in 0..turns {
            counts[balancer.choose("", &[]).unwrap().0] += 1;
        }
        counts
    }

    #[test]
    fn weights_hold_exactly_over_a_cycle() {
        for weights in
            [vec![(5, 0), (1, 0), (1, 0)], vec![(100, 0), (50, 0)], vec![(7, 0), (0, 0), (4, 0)]]
        {
            let nodes = nodes(&weights);
            let unit =
                weights.iter().fold(0, |unit, (weight, _)| gcd(unit, u64::from(*weight))) as usize;
            let expected: Vec<usize> =
                weights.iter().map(|(weight, _)| *weight as usize / unit).collect();
            let balancer = Balancer::round_robin(&nodes);
            for _ in 0..3 {
                assert_eq!(counts(&balancer, nodes.len(), expected.iter().sum()), expected);
            }
        }
    }

    #[test]
    fn nodes_without_weight_rotate_only_among_themselves() {
        assert_eq!(counts(&Balancer::round_robin(&nodes(&[(0, 0), (0, 0)])), 2, 10), [5, 5]);
    }

    #[test]
    fn tried_nodes_are_left_out_and_lower_tiers_come_last() {
        let nodes = nodes(&[(1, 1), (1, 1), (0, 1), (1, 0)]);
        let balancer = Balancer::round_robin(&nodes);
        let mut tried = Vec::new();
        while let Some((index, _)) = balancer.choose("", &tried) {
            tried.push(index);
        }
        assert_eq!(tried.len(), 3);
        assert_eq!(tried.last(), Some(&3));
    }

    #[test]
    fn a_key_stays_on_its_node_when_another_one_leaves() {
        let all = nodes(&[(1, 0), (1, 0), (1, 0)]);
        let on = HashOn::Variable("uri".to_owned());
        let (before, after) = (Balancer::hash(&all, &on), Balancer::hash(&all[..2], &on));
        let place = |balancer: &Balancer, key: &str| balancer.choose(key, &[]).unwrap().0;
        let mut used = [0; 3];
        for key in 0..300 {
            let key = key.to_string();
            let node = place(&before, &key);
            used[node] += 1;
            assert!(node == 2 || node == place(&after, &key));
        }
        assert!(used.iter().all(|count| *count > 50), "{used:?}");
    }

    #[test]
    fn the_least_busy_node_is_chosen_for_its_weight() {
        let balancer = Balancer::least_busy(&nodes(&[(2, 0), (1, 0)]));
        let held: Vec<_> = (0..6).map(|_| balancer.choose("", &[]).unwrap()).collect();
        assert_eq!(held.iter().filter(|(index, _)| *index == 0).count(), 4);
        drop(held);
        assert_eq!(balancer.choose("", &[]).unwrap().0, 0);
    }
}
