//! Whatever gateways report, the store answers as a plain list of all samples would.

use std::collections::BTreeMap;

use gantry_metrics::key::{INSTANCE, Matcher, NAME};
use gantry_metrics::range::{Function, Range};
use gantry_metrics::{Key, Options, Report, Sample, Selection, Store};
use gantry_model::Id;
use proptest::prelude::*;

const INSTANCES: [&str; 2] = ["gw-1", "gw-2"];
const SERIES: [&str; 3] = ["a", "b", "c"];

/// Something that happens to one of the gateways.
#[derive(Clone, Debug)]
struct Event {
    instance: usize,
    /// Milliseconds since the last event; clocks also stand still and go back.
    pause: i64,
    /// The gateway has restarted since.
    restarts: bool,
    /// What each series has counted since, and whether the report holds it.
    counted: [(u32, bool); 3],
    /// Quarters, so that values are not whole.
    quarters: bool,
    /// The server is killed and started after the report.
    reopens: bool,
}

fn event() -> impl Strategy<Value = Event> {
    let pause = prop_oneof![
        6 => 14_000_i64..16_000,
        1 => Just(0),
        1 => -20_000_i64..0,
        1 => 1_000_i64..200_000
    ];
    let counted =
        prop::array::uniform3((prop_oneof![Just(0), 0_u32..500], prop::bool::weighted(0.9)));
    (
        0..2_usize,
        pause,
        prop::bool::weighted(0.1),
        counted,
        any::<bool>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(instance, pause, restarts, counted, quarters, reopens)| Event {
            instance,
            pause,
            restarts,
            counted,
            quarters,
            reopens,
        })
}

type Samples = Vec<(i64, f64)>;

/// The plain list.
#[derive(Default)]
struct Naive {
    series: BTreeMap<(usize, usize), (usize, Samples)>,
    /// Run and time of the last report of each gateway, and time of the one before.
    last: [Option<(usize, i64, Option<i64>)>; 2],
}

impl Naive {
    fn report(&mut self, instance: usize, run: usize, time: i64, values: &[(usize, f64)]) {
        let (time, before) = match self.last[instance] {
            Some((same, last, before)) if same == run && (0..1_000).contains(&(time - last)) => {
                (last, before)
            }
            last => (time, last.map(|(_, time, _)| time)),
        };
        self.last[instance] = Some((run, time, before));
        for (name, value) in values {
            let known = self.series.contains_key(&(instance, *name));
            let (seen, samples) = self.series.entry((instance, *name)).or_insert((run, Vec::new()));
            let last = samples.last().map_or(i64::MIN, |(time, _)| *time);
            if last >= time {
                continue;
            }
            if let Some(before) = before.filter(|_| !known || *seen != run) {
                let zero = before.max(last.saturating_add(1));
                if zero < time {
                    samples.push((zero, 0.0));
                }
            }
            samples.push((time, *value));
            *seen = run;
        }
    }
}

/// The rules once more, in the order in which a person would apply them.
fn rate(samples: &Samples, start: i64, end: i64) -> Option<f64> {
    let inside: Samples =
        samples.iter().copied().filter(|(time, _)| start < *time && *time <= end).collect();
    if inside.len() < 2 {
        return None;
    }
    let mut counted = 0.0;
    for pair in inside.windows(2) {
        counted += if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 };
    }
    let first = inside[0];
    let last = inside[inside.len() - 1];
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let [covered, mut left, mut right, gaps, window] =
        [last.0 - first.0, first.0 - start, end - last.0, inside.len() as i64 - 1, end - start]
            .map(|number| number as f64);
    let usual = covered / gaps;
    if left >= usual * 1.1 {
        left = usual / 2.0;
    }
    if counted > 0.0 {
        left = left.min(covered * first.1 / counted);
    }
    if right >= usual * 1.1 {
        right = usual / 2.0;
    }
    Some(counted * (covered + left + right) / covered / window * 1000.0)
}

/// Plays the events; answers the store, the plain list, and the last time.
fn play(folder: &std::path::Path, events: &[Event]) -> (Store, Naive, i64) {
    let options = Options { window_ms: 300_000, log_bytes_max: 1_500, ..Options::default() };
    let cluster = Id::new(1).unwrap();
    let open = || Store::open(folder, options.clone()).unwrap();
    let mut store = open();
    let mut naive = Naive::default();
    let (mut time, mut newest) = (1_800_000_000_000_i64, 0);
    let (mut counters, mut runs) = ([[0.0; 3]; 2], [0; 2]);
    for event in events {
        let instance = event.instance;
        time += event.pause;
        newest = newest.max(time);
        if event.restarts {
            counters[instance] = [0.0; 3];
            runs[instance] += 1;
        }
        let mut values = Vec::new();
        for (name, (count, held)) in event.counted.iter().enumerate() {
            let unit = if event.quarters { 0.25 } else { 1.0 };
            counters[instance][name] += f64::from(*count) * unit;
            if *held {
                values.push((name, counters[instance][name]));
            }
        }
        let run = format!("run-{}", runs[instance]);
        let sample = |(name, value): &(usize, f64)| Sample {
            name: SERIES[*name],
            labels: vec![("route", "1".into())],
            value: *value,
            is_counter: true,
        };
        let samples = values.iter().map(sample).collect();
        let report = Report {
            instance: INSTANCES[instance],
            run: &run,
            round: None,
            time,
            truncated: false,
            samples,
        };
        store.append(cluster, &report).unwrap();
        naive.report(instance, runs[instance], time, &values);
        if event.reopens {
            drop(store);
            store = open();
        }
    }
    (store, naive, newest)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_store_answers_as_a_plain_list_does(events in prop::collection::vec(event(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let (store, naive, newest) = play(folder.path(), &events);
        let range = Range {
            start: 1_800_000_000_000 - 30_000,
            end: newest + 90_000,
            step: 20_000,
            window: 60_000,
        };
        for ((instance, name), (_, samples)) in &naive.series {
            let labels = [(NAME, SERIES[*name]), (INSTANCE, INSTANCES[*instance])];
            let selection = Selection {
                matcher: Matcher::new(labels),
                start: i64::MIN,
                end: i64::MAX,
                samples_max: 10_000,
            };
            let (mut stored, mut rates) = (Vec::new(), vec![None; range.points()]);
            store.select(Id::new(1).unwrap(), &selection, |(), _: &Key, samples| {
                stored.extend_from_slice(samples);
                range.evaluate(Function::Rate, samples, |point, value| rates[point] = Some(value));
            }).unwrap();
            prop_assert_eq!(&stored, samples);
            for (point, found) in rates.into_iter().enumerate() {
                let end = range.time(point);
                let expected = rate(samples, end - range.window, end);
                prop_assert_eq!(found.is_some(), expected.is_some());
                let (found, expected) = (found.unwrap_or(0.0), expected.unwrap_or(0.0));
                let near = (found - expected).abs() <= 1e-9 * expected.abs().max(1.0);
                prop_assert!(near, "{} is not {}", found, expected);
            }
        }
    }
}
