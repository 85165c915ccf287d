//! Requests of clients, and what gateways count of them.

use std::collections::BTreeMap;

/// A request that a gateway has answered.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Seconds after the start.
    pub time: i64,
    pub app: i64,
    pub api: i64,
    pub code: u16,
    /// Milliseconds until the answer, and those of them that were the backend's.
    pub took: u32,
    pub behind: u32,
    pub bytes_in: u32,
    pub bytes_out: u32,
}

/// Name and labels of a series as Prometheus text has them, without the instance.
pub type Name = (&'static str, BTreeMap<&'static str, String>);

/// What a gateway says at a moment.
#[derive(Clone, Debug)]
pub struct Report {
    pub time: i64,
    pub instance: &'static str,
    pub run: usize,
    pub values: BTreeMap<Name, f64>,
}

impl Report {
    pub fn text(&self) -> String {
        let mut text = String::from("# TYPE apisix_http_status counter\n");
        for ((family, labels), value) in &self.values {
            let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
            // The clock of a gateway may be wrong by years; nobody looks at it.
            text += &format!("{family}{{{}}} {value} {}\n", labels.join(","), self.time * 7);
        }
        text
    }
}

/// All that happens.
#[derive(Default)]
pub struct Traffic {
    /// Without those that a gateway took to its grave: it restarted before it could report them.
    pub events: Vec<Event>,
    /// In order of time.
    pub reports: Vec<Report>,
}

const INSTANCES: [&str; 2] = ["gw-1", "gw-2"];
const CONNECTIONS: &str = "apisix_nginx_http_current_connections";
/// Seconds between reports; gateways report at different moments.
const ROUND: i64 = 15;
const OFFSETS: [i64; 2] = [4, 11];
/// Application, API and status; each has some requests in every round.
const KINDS: [(i64, i64, u16); 5] =
    [(11, 101, 200), (11, 101, 404), (11, 102, 200), (12, 103, 201), (12, 103, 502)];

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % below
    }
}

struct Gateway {
    run: usize,
    counters: BTreeMap<Name, f64>,
    /// What has happened since the last report.
    unreported: Vec<Event>,
}

/// When gateways restart (with all counters at zero), and when they cannot be heard.
pub struct Plan {
    pub seconds: i64,
    pub restarts: Vec<(usize, i64)>,
    pub silences: Vec<(usize, std::ops::Range<i64>)>,
}

/// Plays the plan.
pub fn play(plan: &Plan) -> Traffic {
    let mut traffic = Traffic::default();
    let mut dice = Dice(42);
    let mut gateways =
        [0, 1].map(|_| Gateway { run: 0, counters: BTreeMap::new(), unreported: Vec::new() });
    for round in 0..plan.seconds / ROUND {
        for (number, gateway) in gateways.iter_mut().enumerate() {
            let time = round * ROUND + OFFSETS[number];
            if plan.restarts.iter().any(|(who, when)| *who == number && *when / ROUND == round) {
                gateway.run += 1;
                gateway.counters.clear();
                gateway.unreported.clear();
            }
            // The first report of a run has seen nothing yet; a new kind of request turns up later.
            for (place, kind) in KINDS.iter().enumerate() {
                if round <= 20 * i64::try_from(place).unwrap() {
                    continue;
                }
                for _ in 0..1 + dice.roll(4) {
                    let event = event(&mut dice, *kind, time - 1);
                    gateway.count(&event);
                    gateway.unreported.push(event);
                }
            }
            let is_silent = |(who, when): &(usize, std::ops::Range<i64>)| {
                *who == number && when.contains(&time)
            };
            if plan.silences.iter().any(is_silent) {
                continue;
            }
            traffic.events.append(&mut gateway.unreported);
            let mut values = gateway.counters.clone();
            for state in ["active", "reading"] {
                let labels = [("state", state.to_owned())].into();
                values.insert((CONNECTIONS, labels), f64::from(dice.roll(50)));
            }
            let instance = INSTANCES[number];
            traffic.reports.push(Report { time, instance, run: gateway.run, values });
        }
    }
    traffic
}

fn event(dice: &mut Dice, kind: (i64, i64, u16), time: i64) -> Event {
    let (app, api, code) = kind;
    let behind = 5 + dice.roll(100);
    let took = behind + dice.roll(9);
    let (bytes_in, bytes_out) = (100 + dice.roll(900), 300 + dice.roll(5000));
    Event { time, app, api, code, took, behind, bytes_in, bytes_out }
}

impl Gateway {
    fn count(&mut self, event: &Event) {
        let base: BTreeMap<&'static str, String> =
            [("route", event.api.to_string()), ("service", event.app.to_string())].into();
        let with = |name: &'static str, value: &str| {
            let mut labels = base.clone();
            labels.insert(name, value.to_owned());
            labels
        };
        let mut add = |family, labels, value| {
            *self.counters.entry((family, labels)).or_default() += value;
        };
        add("apisix_http_status", with("code", &event.code.to_string()), 1.0);
        for (kind, took) in [("request", event.took), ("upstream", event.behind)] {
            add("apisix_http_latency_sum", with("type", kind), f64::from(took));
            add("apisix_http_latency_count", with("type", kind), 1.0);
        }
        for (kind, bytes) in [("ingress", event.bytes_in), ("egress", event.bytes_out)] {
            add("apisix_bandwidth", with("type", kind), f64::from(bytes));
        }
    }
}
