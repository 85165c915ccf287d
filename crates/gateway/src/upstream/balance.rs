//! Choosing a node. Nothing here waits: positions and counts are atomics.

use std::{
    cmp::Reverse,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Lease, Node};
use crate::template::Template;

/// How nodes are chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Balancing {
    /// Every node in turn, as often as its weight says.
    RoundRobin,
    /// The same node for the same key; other keys do not move when a node comes or goes.
    Hash(HashOn),
    /// The node with the fewest requests in flight for its weight.
    LeastBusy,
    /// The faster one of two nodes, whatever their weights.
    Fastest,
}

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

/// The nodes of one upstream at one time, and whose turn it is; tiers of larger priority are
/// exhausted first.
pub struct Pool {
    /// Nodes of larger priority first.
    nodes: Vec<Node>,
    /// Whether nodes count that have no weight: if none has one, or nobody looks at it.
    weightless: bool,
    tiers: Vec<(Range<usize>, Algorithm)>,
}

enum Algorithm {
    RoundRobin(Turns),
    Hash(Ring),
    /// The weights in force.
    LeastBusy(Vec<u32>),
    Fastest,
}

impl Pool {
    #[must_use]
    pub fn new(mut nodes: Vec<Node>, balancing: &Balancing) -> Self {
        nodes.sort_by_key(|node| Reverse(node.priority));
        let mut tiers = Vec::new();
        let mut start = 0;
        for tier in nodes.chunk_by(|one, other| one.priority == other.priority) {
            let algorithm = match balancing {
                Balancing::RoundRobin => Algorithm::RoundRobin(Turns::new(&weights(tier))),
                Balancing::Hash(_) => Algorithm::Hash(Ring::new(tier)),
                Balancing::LeastBusy => Algorithm::LeastBusy(weights(tier)),
                Balancing::Fastest => Algorithm::Fastest,
            };
            tiers.push((start..start + tier.len(), algorithm));
            start += tier.len();
        }
        let weightless =
            *balancing == Balancing::Fastest || nodes.iter().all(|node| node.weight == 0);
        Self { nodes, weightless, tiers }
    }

    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether there is one node only, so that there is nothing to choose.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.nodes.len() == 1
    }

    /// How many nodes can be asked at all.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.candidates().count()
    }

    fn candidates(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| self.weightless || node.weight > 0)
    }

    /// The index of the next node to try, and what to hold while it works. None when all were tried.
    /// Nodes that are down are passed over, unless all of them are.
    pub fn choose(&self, key: &str, tried: &[usize]) -> Option<(usize, Option<Lease>)> {
        let some_up = self.candidates().any(|node| node.standing.is_up());
        self.tiers.iter().find_map(|(range, algorithm)| {
            let nodes = self.nodes.get(range.clone())?;
            let free = |index: &usize| {
                let up = nodes.get(*index).is_some_and(|node| node.standing.is_up());
                (up || !some_up) && !tried.contains(&(range.start + index))
            };
            let index = match algorithm {
                Algorithm::RoundRobin(turns) => turns.next(free)?,
                Algorithm::Hash(ring) => ring.find(key, free)?,
                Algorithm::LeastBusy(weights) => least_busy(nodes, weights, free)?,
                Algorithm::Fastest => fastest(nodes, free)?,
            };
            let counts = matches!(algorithm, Algorithm::LeastBusy(_) | Algorithm::Fastest);
            let lease = nodes.get(index).filter(|_| counts).map(|node| Lease::new(&node.standing));
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

    /// The index whose turn it is, or another one that is free. None without any weight.
    pub fn next(&self, free: impl Fn(&usize) -> bool) -> Option<usize> {
        let cycle = self.ends.last().copied().filter(|cycle| *cycle > 0)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let slot = u128::from(turn % cycle) * u128::from(self.stride) % u128::from(cycle);
        let index = self.ends.partition_point(|end| u128::from(*end) <= slot);
        if free(&index) { Some(index) } else { self.other(turn, free) }
    }

    /// The node whose turn it is among those that are free, which keep their proportions. Turns are
    /// scattered, because those of a node that is down lie at equal distances.
    fn other(&self, turn: u64, free: impl Fn(&usize) -> bool) -> Option<usize> {
        const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
        let starts = [0].iter().chain(&self.ends);
        let weights = self.ends.iter().zip(starts).map(|(end, start)| end - start).enumerate();
        let weights = weights.filter(|(index, _)| free(index));
        let total: u64 = weights.clone().map(|(_, weight)| weight).sum();
        let slot = (u128::from(turn.wrapping_mul(SCATTER)) * u128::from(total)) >> 64;
        let ends = weights.scan(0, |end, (index, weight)| {
            *end += weight;
            Some((index, *end))
        });
        ends.filter(|(_, end)| u128::from(*end) > slot).map(|(index, _)| index).next()
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
/// Bounds the ring, up to a point for each node, when weights have no common divisor.
const POINTS_MAX: u64 = 100_000;

impl Ring {
    fn new(nodes: &[Node]) -> Self {
        let weights = weights(nodes);
        let unit = weights.iter().fold(0, |unit, weight| gcd(unit, u64::from(*weight))).max(1);
        let total: u64 = weights.iter().map(|weight| u64::from(*weight) / unit).sum();
        let most = POINTS_MAX.min(u64::from(POINTS) * total);
        // A node with any weight has a point.
        let points = |weight: u32| match u64::from(weight) / unit {
            0 => 0,
            units => (u128::from(units) * u128::from(most) / u128::from(total)).max(1),
        };
        let mut ring: Vec<(u64, usize)> = nodes
            .iter()
            .zip(weights)
            .enumerate()
            .flat_map(|(index, (node, weight))| {
                (0..points(weight)).map(move |point| {
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

fn least_busy(nodes: &[Node], weights: &[u32], free: impl Fn(&usize) -> bool) -> Option<usize> {
    // Larger means more load; weights are at least one here.
    let load = |node: &Node, weight: u32| {
        Reverse((u64::from(weight) << 32) / (node.standing.busy() as u64 + 1))
    };
    let candidates = nodes.iter().zip(weights).enumerate();
    let weighted = candidates.filter(|(index, (_, weight))| **weight > 0 && free(index));
    let least = weighted.min_by_key(|(_, (node, weight))| load(node, **weight));
    least.map(|(index, _)| index)
}

/// The faster one of two that chance has picked.
fn fastest(nodes: &[Node], free: impl Fn(&usize) -> bool) -> Option<usize> {
    let count = (0..nodes.len()).filter(&free).count();
    let first = rand::random_range(0..count.max(1));
    let second = (first + rand::random_range(1..count.max(2))) % count.max(1);
    let slowness = |index: usize| nodes.get(index).map_or(0.0, |node| node.standing.slowness());
    let pick = |place: usize| (0..nodes.len()).filter(&free).nth(place);
    let (one, other) = (pick(first)?, pick(second)?);
    Some(if slowness(other) < slowness(one) { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::{super::Report, *};

    fn nodes(weights: &[(u32, i64)]) -> Vec<Node> {
        let node = |(index, (weight, priority)): (usize, &(u32, i64))| Node {
            weight: *weight,
            priority: *priority,
            ..Node::new(format!("10.0.0.{index}"), 80)
        };
        weights.iter().enumerate().map(node).collect()
    }

    fn pool(weights: &[(u32, i64)], balancing: &Balancing) -> Pool {
        Pool::new(nodes(weights), balancing)
    }

    fn counts(pool: &Pool, turns: usize) -> Vec<usize> {
        let mut counts = vec![0; pool.nodes.len()];
        for _ in 0..turns {
            counts[pool.choose("", &[]).unwrap().0] += 1;
        }
        counts
    }

    fn sicken(node: &Node) {
        assert_eq!(node.standing.report(Report::TcpFailure, 1), Some(false));
    }

    #[test]
    fn weights_hold_exactly_over_a_cycle() {
        for weights in
            [vec![(5, 0), (1, 0), (1, 0)], vec![(100, 0), (50, 0)], vec![(7, 0), (0, 0), (4, 0)]]
        {
            let unit =
                weights.iter().fold(0, |unit, (weight, _)| gcd(unit, u64::from(*weight))) as usize;
            let expected: Vec<usize> =
                weights.iter().map(|(weight, _)| *weight as usize / unit).collect();
            let pool = pool(&weights, &Balancing::RoundRobin);
            for _ in 0..3 {
                assert_eq!(counts(&pool, expected.iter().sum()), expected);
            }
        }
    }

    #[test]
    fn the_turns_of_a_node_that_is_down_are_shared_as_the_weights_say() {
        for (weights, down, expected) in [
            (vec![100, 1, 100], vec![0], vec![0.0, 1.0 / 101.0, 100.0 / 101.0]),
            (vec![1, 1, 1], vec![0], vec![0.0, 0.5, 0.5]),
            (vec![1, 1, 1, 1], vec![0, 1], vec![0.0, 0.0, 0.5, 0.5]),
            (vec![3, 0, 1, 2], vec![0], vec![0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0]),
        ] {
            let weighted: Vec<_> = weights.iter().map(|weight| (*weight, 0)).collect();
            let pool = pool(&weighted, &Balancing::RoundRobin);
            down.iter().for_each(|index| sicken(&pool.nodes[*index]));
            for (count, expected) in counts(&pool, 20_000).into_iter().zip(expected) {
                let share = count as f64 / 20_000.0;
                assert!((share - expected).abs() < 0.01, "{weights:?}: {share}, not {expected}");
                assert!(expected > 0.0 || count == 0, "{weights:?}");
            }
        }
    }

    #[test]
    fn no_weight_makes_a_ring_too_large() {
        let balancing = Balancing::Hash(HashOn::Consumer);
        let pool = pool(&[(1, 0), (5_000_000, 0), (0, 0)], &balancing);
        let Algorithm::Hash(ring) = &pool.tiers[0].1 else { panic!("a ring") };
        assert!(ring.points.len() <= 100_001, "{}", ring.points.len());
        let points = |index| ring.points.iter().filter(|point| point.1 == index).count();
        assert_eq!((points(0), points(2)), (1, 0), "a node with any weight is on it");
    }

    #[test]
    fn nodes_without_weight_rotate_only_among_themselves() {
        assert_eq!(counts(&pool(&[(0, 0), (0, 0)], &Balancing::RoundRobin), 10), [5, 5]);
    }

    #[test]
    fn tried_nodes_are_left_out_and_lower_tiers_come_last() {
        for balancing in [Balancing::RoundRobin, Balancing::LeastBusy] {
            let pool = pool(&[(1, 0), (1, 1), (0, 1), (1, 1)], &balancing);
            let mut tried = Vec::new();
            while let Some((index, _)) = pool.choose("", &tried) {
                tried.push(index);
            }
            assert_eq!(tried.len(), 3);
            assert_eq!(pool.nodes[tried[2]].host, "10.0.0.0");
        }
    }

    #[test]
    fn a_key_stays_on_its_node_when_another_one_leaves_or_falls_ill() {
        let balancing = Balancing::Hash(HashOn::Variable("uri".to_owned()));
        let before = pool(&[(1, 0), (1, 0), (1, 0)], &balancing);
        let after = pool(&[(1, 0), (1, 0)], &balancing);
        let ill = pool(&[(1, 0), (1, 0), (1, 0)], &balancing);
        sicken(&ill.nodes[2]);
        let place = |pool: &Pool, key: &str| pool.choose(key, &[]).unwrap().0;
        let mut used = [0; 3];
        for key in 0..300 {
            let key = key.to_string();
            let node = place(&before, &key);
            used[node] += 1;
            assert!(node == 2 || node == place(&after, &key));
            assert_eq!(place(&ill, &key), place(&after, &key));
        }
        assert!(used.iter().all(|count| *count > 50), "{used:?}");
    }

    #[test]
    fn the_least_busy_node_is_chosen_for_its_weight() {
        let pool = pool(&[(2, 0), (1, 0)], &Balancing::LeastBusy);
        let held: Vec<_> = (0..6).map(|_| pool.choose("", &[]).unwrap()).collect();
        assert_eq!(held.iter().filter(|(index, _)| *index == 0).count(), 4);
        drop(held);
        assert_eq!(pool.choose("", &[]).unwrap().0, 0);
    }

    #[test]
    fn of_two_nodes_the_faster_one_is_chosen() {
        let pool = pool(&[(1, 0), (0, 0)], &Balancing::Fastest);
        // An answer makes a node slower than one nobody has asked.
        let (first, lease) = pool.choose("", &[]).unwrap();
        lease.unwrap().answered();
        let held: Vec<_> = (0..10).map(|_| pool.choose("", &[]).unwrap()).collect();
        assert!(held.iter().all(|(index, _)| *index == 1 - first));
        assert_eq!(pool.choose("", &[1 - first]).unwrap().0, first);
        assert!(pool.choose("", &[0, 1]).is_none());
    }

    #[test]
    fn nodes_that_are_down_are_passed_over_unless_all_are() {
        for balancing in [Balancing::RoundRobin, Balancing::LeastBusy, Balancing::Fastest] {
            let pool = pool(&[(1, 0), (1, 0), (1, -1)], &balancing);
            sicken(&pool.nodes[0]);
            assert_eq!(counts(&pool, 10), [0, 10, 0]);
            sicken(&pool.nodes[1]);
            assert_eq!(counts(&pool, 10), [0, 0, 10], "the next tier is well");
            sicken(&pool.nodes[2]);
            let counts = counts(&pool, 10);
            assert_eq!((counts[0] + counts[1], counts[2]), (10, 0), "nobody is worse than others");
        }
    }
}
