//! Days become one block, old days are thinned out, and nobody sees a difference in what was counted.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_metrics::key::{Key, Matcher, NAME};
use gantry_metrics::range::{Function, Range};
use gantry_metrics::{Options, Report, Sample, Selection, Store};
use gantry_model::Id;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const STATUS: &str = "apisix_http_status";
const CONNECTIONS: &str = "apisix_nginx_http_current_connections";

type Samples = Vec<(i64, f64)>;

fn cluster() -> Id {
    Id::new(7).unwrap()
}

fn options() -> Options {
    Options { full_ms: 2 * DAY, retention_ms: 10 * DAY, ..Options::default() }
}

/// A counter and a gauge every minute from `from` to `upto`; the gateway restarts every five hours.
fn fill(store: &Store, from: i64, upto: i64) {
    for time in (from..upto).step_by(usize::try_from(MINUTE).unwrap()) {
        let run = time / (5 * HOUR);
        let since = (time - run * 5 * HOUR) / MINUTE;
        let number = |value: i64| f64::from(i32::try_from(value).unwrap());
        let sample =
            |name, value, is_counter| Sample { name, labels: Vec::new(), value, is_counter };
        let report = Report {
            instance: "gw",
            run: &run.to_string(),
            round: None,
            time,
            truncated: false,
            samples: vec![
                sample(STATUS, number(7 * since + since * since % 5), true),
                sample(CONNECTIONS, number(time / MINUTE % 11), false),
            ],
        };
        store.append(cluster(), &report).unwrap();
    }
}

fn read(store: &Store, name: &str) -> Samples {
    let matcher = Matcher::new([(NAME, name)]);
    let wanted = Selection { matcher, start: i64::MIN, end: i64::MAX, samples_max: 1_000_000 };
    let visit = |found: &mut Samples, _: &Key, samples: &[(i64, f64)]| {
        found.extend_from_slice(samples);
    };
    store.select(cluster(), &wanted, visit).unwrap()
}

fn compact(store: &Store, now: i64) {
    store.maintain(now).unwrap();
    while store.compact(now).unwrap() {}
}

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let folder = folder.join(cluster().to_string());
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == end));
    found.sort();
    found
}

/// All that a counter has grown.
fn grown(samples: &Samples) -> f64 {
    let pairs = samples.windows(2);
    pairs.map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 }).sum()
}

#[test]
fn a_day_becomes_one_block_and_every_interruption_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), options()).unwrap();
    fill(&store, 0, DAY + 3 * HOUR);
    let expected = [read(&store, STATUS), read(&store, CONNECTIONS)];
    let singles = files(folder.path(), "block");
    assert_eq!(singles.len(), 13);
    let kept: Vec<_> = singles.iter().map(|path| (path, fs::read(path).unwrap())).collect();
    compact(&store, DAY + 3 * HOUR);
    assert_eq!(files(folder.path(), "block").len(), 2);
    assert_eq!([read(&store, STATUS), read(&store, CONNECTIONS)], expected);
    drop(store);
    // The process died before what was merged had gone.
    for (path, bytes) in &kept[3..] {
        fs::write(path, bytes).unwrap();
    }
    let store = Store::open(folder.path(), options()).unwrap();
    assert_eq!(files(folder.path(), "block").len(), 2);
    assert_eq!([read(&store, STATUS), read(&store, CONNECTIONS)], expected);
    // It goes on where it was.
    fill(&store, DAY + 3 * HOUR, DAY + 5 * HOUR);
    assert_eq!(read(&store, STATUS).len(), expected[0].len() + 120);
}

#[test]
fn old_days_are_thinned_out_and_counters_keep_their_rates() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), options()).unwrap();
    fill(&store, 0, 4 * DAY);
    let full = read(&store, STATUS);
    assert_eq!(store.resolution(cluster(), 0, 4 * DAY), None);
    let size =
        |end| files(folder.path(), end).into_iter().map(|path| fs::metadata(path).unwrap().len());
    let before: u64 = size("block").sum();
    compact(&store, 4 * DAY);
    assert_eq!((size("coarse").count(), size("coarse").sum::<u64>() * 5 < before), (2, true));
    let thin = read(&store, STATUS);
    assert!(thin.len() * 3 < full.len() * 2, "{} of {}", thin.len(), full.len());
    assert!((grown(&thin) - grown(&full)).abs() < f64::EPSILON, "{}", grown(&thin));
    assert_eq!(store.resolution(cluster(), 0, DAY), Some(5 * MINUTE));
    assert_eq!(store.resolution(cluster(), 2 * DAY, 4 * DAY), None);
    assert_eq!(read(&store, CONNECTIONS).len(), 2 * 24 * (12 + 60));

    // Rates by the hour, as anybody may ask for them, hours of restarts included.
    let range = Range { start: HOUR, end: 4 * DAY - HOUR, step: HOUR, window: HOUR };
    let rates = |samples: &Samples| {
        let mut rates = vec![f64::NAN; range.points()];
        range.evaluate(Function::Rate, samples, |point, value| rates[point] = value);
        rates
    };
    for (point, (thin, full)) in rates(&thin).into_iter().zip(rates(&full)).enumerate() {
        assert!((thin - full).abs() <= 0.02 * full, "hour {point}: {thin} is not {full}");
    }
    // Everything survives a restart, and compacting again changes nothing.
    drop(store);
    let store = Store::open(folder.path(), options()).unwrap();
    compact(&store, 4 * DAY);
    assert_eq!(read(&store, STATUS), thin);
    // What is thin goes at last.
    compact(&store, 14 * DAY);
    assert_eq!((size("coarse").count(), size("block").count()), (0, 0));
}

#[test]
fn a_block_that_cannot_be_read_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), options()).unwrap();
    fill(&store, 0, DAY + 3 * HOUR);
    let all = read(&store, STATUS).len();
    let blocks = files(folder.path(), "block");
    let mut bytes = fs::read(&blocks[4]).unwrap();
    bytes[20] ^= 0xff;
    fs::write(&blocks[4], bytes).unwrap();
    fs::remove_file(&blocks[6]).unwrap();
    compact(&store, DAY + 3 * HOUR);
    assert_eq!(
        (files(folder.path(), "block").len(), files(folder.path(), "damaged").len()),
        (2, 1)
    );
    let missing = all - read(&store, STATUS).len();
    assert!((240..=242).contains(&missing), "{missing}");
}

#[test]
fn logs_count_as_bytes_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let now = DAY + HOUR;
    let store = Store::open(folder.path(), options()).unwrap();
    fill(&store, 0, now);
    drop(store);
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let log: u64 = files(folder.path(), "wal").iter().map(size).sum();
    let blocks: Vec<u64> = files(folder.path(), "block").iter().map(size).collect();
    let newest: u64 = blocks.iter().rev().take(3).sum();
    assert!(log > newest, "{log} {newest}");
    let small = Options { disk_bytes_max: log + newest, ..options() };
    let store = Store::open(folder.path(), small).unwrap();
    store.maintain(now).unwrap();
    assert_eq!((blocks.len(), files(folder.path(), "block").len()), (12, 3));
}

#[test]
fn a_cluster_whose_disk_fails_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), options()).unwrap();
    fill(&store, 0, DAY + 3 * HOUR);
    // A folder stands where the first cluster's merged block would be written.
    let first = Id::new(1).unwrap();
    let place = folder.path().join(first.to_string());
    for minute in 0..(27 * 60) {
        let report = Report {
            instance: "gw",
            run: "r",
            round: None,
            time: minute * MINUTE,
            truncated: false,
            samples: vec![Sample {
                name: STATUS,
                labels: Vec::new(),
                value: 1.0,
                is_counter: true,
            }],
        };
        store.append(first, &report).unwrap();
    }
    fs::create_dir(place.join("0000000000-0000000011.tmp")).unwrap();
    store.maintain(DAY + 3 * HOUR).unwrap();
    assert!(store.compact(DAY + 3 * HOUR).is_err());
    assert_eq!(files(folder.path(), "block").len(), 2, "the other is compacted");
}
