//! The nodes of an upstream over time: who keeps its standing when the configuration changes, and
//! who is probed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Checks, Node, Report, Resolver, Standing, probe};
use crate::plugin::Background;

/// The nodes of one upstream and how they stand. Probes run as long as somebody holds this.
#[derive(Default)]
pub struct Members {
    /// The key of the resource that holds the upstream, such as `/apisix/upstreams/7`.
    key: String,
    pub checks: Option<Checks>,
    nodes: Mutex<HashMap<(String, u16), Arc<Standing>>>,
    probing: Mutex<Option<DropGuard>>,
}

impl Members {
    /// Gives the nodes their standing: the one they had, or a new one. Nodes that are not listed are
    /// forgotten.
    pub fn enlist(&self, nodes: &mut [Node]) {
        let mut known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut listed = HashMap::with_capacity(nodes.len());
        for node in nodes {
            let address = (node.host.clone(), node.port);
            let standing = known.get(&address).or_else(|| listed.get(&address)).cloned();
            node.standing = standing.unwrap_or_default();
            listed.insert(address, Arc::clone(&node.standing));
        }
        *known = listed;
    }

    /// Takes note of what a request saw of a node.
    pub fn observe(&self, node: &Node, report: Report) {
        if let Some(passive) = self.checks.as_ref().and_then(|checks| checks.passive.as_ref()) {
            self.count(
                &node.host,
                node.port,
                &node.standing,
                report,
                passive.thresholds.limit(report),
            );
        }
    }

    /// Takes note of the status a node has answered with.
    pub fn observe_status(&self, node: &Node, status: u16) {
        let passive = self.checks.as_ref().and_then(|checks| checks.passive.as_ref());
        let judged = passive.filter(|passive| passive.http);
        if let Some(report) = judged.and_then(|passive| passive.thresholds.judge(status)) {
            self.observe(node, report);
        }
    }

    fn count(&self, host: &str, port: u16, standing: &Standing, report: Report, limit: u8) {
        match standing.report(report, limit) {
            Some(true) => tracing::info!(upstream = self.key, host, port, "a node is well again"),
            Some(false) => {
                tracing::warn!(upstream = self.key, host, port, ?report, "a node is down");
            }
            None => {}
        }
    }

    /// Every node: host, port, and whether it is up.
    #[must_use]
    pub fn states(&self) -> Vec<(String, u16, bool)> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states: Vec<_> = nodes
            .iter()
            .map(|((host, port), standing)| (host.clone(), *port, standing.is_up()))
            .collect();
        states.sort_unstable();
        states
    }

    /// Nodes that are up, or those that are down.
    fn standing(&self, up: bool) -> Vec<(String, u16, Arc<Standing>)> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = nodes.iter().filter(|(_, standing)| standing.is_up() == up);
        alike.map(|((host, port), standing)| (host.clone(), *port, Arc::clone(standing))).collect()
    }

    /// Starts the probes.
    fn probe(self: &Arc<Self>, background: &Background, resolver: &Resolver) {
        let Some(Checks { active, .. }) = &self.checks else { return };
        let stop = CancellationToken::new();
        for (up, pause) in [(true, active.up_interval), (false, active.down_interval)] {
            let Some(pause) = pause else { continue };
            let round = rounds(Arc::downgrade(self), up, pause, resolver.clone());
            let stopped = stop.clone().cancelled_owned();
            background.spawn(async move {
                tokio::select! { () = round => {}, () = stopped => {} }
            });
        }
        *self.probing.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop.drop_guard());
    }
}

/// Probes nodes that are up, or those that are down, again and again.
async fn rounds(members: Weak<Members>, up: bool, pause: Duration, resolver: Resolver) {
    let mut clock = interval_at(Instant::now() + pause, pause);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        clock.tick().await;
        let Some((nodes, checks)) = members
            .upgrade()
            .and_then(|members| Some((members.standing(up), members.checks.clone()?.active)))
        else {
            return;
        };
        let probes = futures::stream::iter(nodes).for_each_concurrent(
            checks.concurrency,
            async |(host, port, standing)| {
                let report = probe::probe(&checks, &host, port, &resolver).await;
                // Whoever holds the members while a probe waits would keep them alive.
                if let Some((report, members)) = report.zip(members.upgrade()) {
                    let limit = checks.thresholds.limit(report);
                    members.count(&host, port, &standing, report, limit);
                }
            },
        );
        probes.await;
    }
}

/// All members that are checked or counted, by the key of their resource.
#[derive(Default)]
pub struct Roster {
    known: Mutex<HashMap<String, Weak<Members>>>,
}

impl Roster {
    /// The members of the upstream at this key: those of before, as long as the checks are the same.
    pub fn members(
        &self,
        key: &str,
        checks: Option<Checks>,
        background: &Background,
        resolver: &Resolver,
    ) -> Arc<Members> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(key).and_then(Weak::upgrade);
        if let Some(before) = before.filter(|before| before.checks == checks) {
            return before;
        }
        if known.len() == known.capacity() {
            known.retain(|_, members| members.strong_count() > 0);
        }
        let members = Arc::new(Members { key: key.to_owned(), checks, ..Members::default() });
        members.probe(background, resolver);
        known.insert(key.to_owned(), Arc::downgrade(&members));
        members
    }

    /// The nodes that are checked, by upstream.
    #[must_use]
    pub fn describe(&self) -> Value {
        let upstream = |(key, members): (String, Arc<Members>)| {
            let node = |(host, port, up)| json!({"host": host, "port": port, "up": up});
            let nodes: Vec<Value> = members.states().into_iter().map(node).collect();
            json!({"key": key, "nodes": nodes})
        };
        self.checked().into_iter().map(upstream).collect()
    }

    /// All members that are checked, by their key.
    #[must_use]
    pub fn checked(&self) -> Vec<(String, Arc<Members>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = known.iter().filter_map(|(key, members)| Some((key, members.upgrade()?)));
        let mut checked: Vec<_> = alive
            .filter(|(_, members)| members.checks.is_some())
            .map(|(key, members)| (key.clone(), members))
            .collect();
        checked.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        checked
    }
}
