//! What is kept, through restarts, damage and the passing of time.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use gantry_metrics::key::{Key, Matcher};
use gantry_metrics::{Error, Options, Outcome, Report, Sample, Selection, Store};
use gantry_model::Id;

const MINUTE: i64 = 60_000;

fn cluster() -> Id {
    Id::new(7).unwrap()
}

/// A report of one counter per value.
fn report(time: i64, values: &[f64]) -> Report<'static> {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let sample = |(name, value): (&&'static str, &f64)| Sample {
        name,
        labels: vec![("code", "200".into())],
        value: *value,
        is_counter: true,
    };
    let samples = NAMES.iter().zip(values).map(sample).collect();
    Report { instance: "gw", run: "r1", round: None, time, truncated: false, samples }
}

fn all() -> Selection {
    let matcher = Matcher::default();
    Selection { matcher, start: i64::MIN, end: i64::MAX, samples_max: 1_000_000 }
}

fn read(store: &Store) -> Vec<(String, Vec<(i64, f64)>)> {
    read_of(store, cluster())
}

fn read_of(store: &Store, cluster: Id) -> Vec<(String, Vec<(i64, f64)>)> {
    let visit = |found: &mut Vec<_>, key: &Key, samples: &[(i64, f64)]| {
        found.push((key.get("__name__").to_owned(), samples.to_vec()));
    };
    store.select(cluster, &all(), visit).unwrap()
}

fn open(folder: &Path) -> Store {
    Store::open(folder, Options::default()).unwrap()
}

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let folder = folder.join(cluster().to_string());
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == end));
    found.sort();
    found
}

/// Copies the store as a killed process leaves it: without anything being closed.
fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let inner = cluster().to_string();
    fs::create_dir(copy.path().join(&inner)).unwrap();
    for file in fs::read_dir(folder.join(&inner)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(&inner).join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn reports_survive_a_kill_and_counters_begin_at_zero() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for (time, values) in [(0, &[5.0][..]), (15_000, &[6.0, 3.0]), (30_000, &[6.0, 4.5])] {
        store.append(cluster(), &report(time, values)).unwrap();
    }
    let expected = vec![
        ("a".to_owned(), vec![(0, 5.0), (15_000, 6.0), (30_000, 6.0)]),
        // It was not there at 0, so it was zero then.
        ("b".to_owned(), vec![(0, 0.0), (15_000, 3.0), (30_000, 4.5)]),
    ];
    assert_eq!(read(&store), expected);
    let copy = copied(folder.path());
    assert_eq!(read(&open(copy.path())), expected);
}

#[test]
fn a_log_is_cut_where_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut lengths = vec![0];
    for round in 0..5 {
        store.append(cluster(), &report(round * 15_000, &[1.0, 2.5])).unwrap();
        lengths.push(fs::metadata(&files(folder.path(), "wal")[0]).unwrap().len());
    }
    let whole = *lengths.last().unwrap();
    let kept = |length: u64| lengths.iter().filter(|end| **end <= length).count() - 1;
    for position in (0..whole).step_by(3) {
        for garbled in [false, true] {
            let copy = copied(folder.path());
            let log = &files(copy.path(), "wal")[0];
            if garbled {
                let mut bytes = fs::read(log).unwrap();
                bytes[usize::try_from(position).unwrap()] ^= 0x55;
                fs::write(log, bytes).unwrap();
            } else {
                OpenOptions::new().write(true).open(log).unwrap().set_len(position).unwrap();
            }
            let reopened = open(copy.path());
            let found = read(&reopened);
            assert_eq!(found.first().map_or(0, |(_, samples)| samples.len()), kept(position));
            // What comes after the cut is kept.
            reopened.append(cluster(), &report(600_000, &[9.0])).unwrap();
            drop(reopened);
            let samples = read(&open(copy.path())).remove(0).1;
            assert_eq!(samples.last(), Some(&(600_000, 9.0)));
        }
    }
}

#[test]
fn stretches_become_blocks_and_every_interruption_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { window_ms: MINUTE, ..Options::default() };
    let store = Store::open(folder.path(), options.clone()).unwrap();
    let mut expected = Vec::new();
    let mut before = tempfile::tempdir().unwrap();
    for round in 0..13 {
        let (time, value) = (round * 15_000, f64::from(u32::try_from(round).unwrap()) * 1.5);
        if round == 12 {
            before = copied(folder.path());
        }
        store.append(cluster(), &report(time, &[value, value])).unwrap();
        expected.push((time, value));
    }
    assert_eq!((files(folder.path(), "block").len(), files(folder.path(), "wal").len()), (3, 1));
    assert_eq!(read(&store)[1].1, expected);
    // The process died after the block was complete and before the old log was removed …
    let after = copied(folder.path());
    let old_log = &files(before.path(), "wal")[0];
    let target = files(after.path(), "wal")[0].with_file_name(old_log.file_name().unwrap());
    fs::copy(old_log, &target).unwrap();
    assert_eq!(read(&Store::open(after.path(), options.clone()).unwrap())[0].1, expected);
    assert!(!target.exists());
    // … before the next log was made …
    let new_block = files(folder.path(), "block").pop().unwrap();
    let target = old_log.with_file_name(new_block.file_name().unwrap());
    fs::copy(&new_block, &target).unwrap();
    let reopened = Store::open(before.path(), options.clone()).unwrap();
    assert_eq!(read(&reopened)[0].1, expected[..12]);
    reopened.append(cluster(), &report(180_000, &[18.0, 18.0])).unwrap();
    assert_eq!(read(&reopened)[0].1, expected);
    // … or with two logs and no block, and half of one under another name.
    let both = copied(folder.path());
    let kept = copied(folder.path());
    drop(reopened);
    let block = files(both.path(), "block").pop().unwrap();
    fs::rename(&block, block.with_extension("tmp")).unwrap();
    fs::remove_file(&files(kept.path(), "wal")[0]).unwrap();
    let recovered = Store::open(both.path(), options.clone()).unwrap();
    assert_eq!(files(both.path(), "tmp").len(), 0);
    assert_eq!(read(&recovered)[0].1.len(), 9);
    assert_eq!(read(&Store::open(kept.path(), options).unwrap())[0].1, expected[..12]);
}

#[test]
fn a_series_and_its_run_are_known_across_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { window_ms: MINUTE, ..Options::default() };
    let store = Store::open(folder.path(), options).unwrap();
    store.append(cluster(), &report(0, &[5.0])).unwrap();
    store.append(cluster(), &report(70_000, &[6.0])).unwrap();
    // A new run that counts further than the last: visible as a reset all the same.
    let restarted = Report { run: "r2", ..report(85_000, &[9.0]) };
    store.append(cluster(), &restarted).unwrap();
    let expected = [(0, 5.0), (70_000, 6.0), (70_001, 0.0), (85_000, 9.0)];
    assert_eq!(read(&store)[0].1, expected);
}

#[test]
fn parts_of_a_report_have_one_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let part = |time, round, values: &[f64], skip| {
        let mut part = Report { round, ..report(time, values) };
        part.samples.drain(..skip);
        store.append(cluster(), &part).unwrap()
    };
    part(1_000, Some(1), &[1.0], 0);
    part(5_000, Some(2), &[2.0], 0);
    let second = part(9_000, Some(2), &[2.0, 4.0], 1);
    assert_eq!(second, Outcome { stored: 1, ..Outcome::default() });
    let again = part(9_500, Some(2), &[2.0, 4.0], 0);
    assert_eq!(again, Outcome { repeated: 2, ..Outcome::default() });
    assert_eq!(read(&store)[1].1, [(1_000, 0.0), (5_000, 4.0)]);
    // Without a round, parts follow each other closely.
    part(20_000, None, &[3.0], 0);
    part(20_400, None, &[3.0, 5.0], 1);
    assert_eq!(read(&store)[1].1.last(), Some(&(20_000, 5.0)));
}

#[test]
fn series_beyond_the_limit_are_counted_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { series_max: 2, window_ms: MINUTE, silence_ms: MINUTE, ..Options::default() };
    let store = Store::open(folder.path(), options).unwrap();
    let outcome = store.append(cluster(), &report(0, &[1.0, 1.0, 1.0])).unwrap();
    assert_eq!(outcome, Outcome { stored: 2, over_limit: 1, ..Outcome::default() });
    // There is room again when series have been silent for long. The third begins where it is, not at
    // zero: it is old, and so is the first when it comes back.
    store.append(cluster(), &report(30_000, &[])).unwrap();
    let mut third = report(70_000, &[50.0, 0.0, 60.0]);
    third.samples.remove(1);
    store.append(cluster(), &third).unwrap();
    let found: Vec<_> = read(&store).into_iter().map(|(_, samples)| samples).collect();
    assert_eq!(found, [vec![(0, 1.0), (70_000, 50.0)], vec![(0, 1.0)], vec![(70_000, 60.0)]]);
}

#[test]
fn old_blocks_go_by_age_and_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { window_ms: MINUTE, retention_ms: 5 * MINUTE, ..Options::default() };
    let store = Store::open(folder.path(), options.clone()).unwrap();
    for minute in 0..10 {
        store.append(cluster(), &report(minute * MINUTE, &[1.0])).unwrap();
    }
    store.maintain(10 * MINUTE).unwrap();
    let times: Vec<_> = read(&store)[0].1.iter().map(|(time, _)| time / MINUTE).collect();
    assert_eq!(times, [5, 6, 7, 8, 9]);
    drop(store);
    let size = fs::metadata(&files(folder.path(), "block")[0]).unwrap().len();
    let log = fs::metadata(&files(folder.path(), "wal")[0]).unwrap().len();
    let small = Options { disk_bytes_max: log + size * 2 + size / 2, ..options };
    let store = Store::open(folder.path(), small).unwrap();
    store.maintain(10 * MINUTE).unwrap();
    let times: Vec<_> = read(&store)[0].1.iter().map(|(time, _)| time / MINUTE).collect();
    assert_eq!(times, [8, 9]);
}

#[test]
fn a_damaged_block_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { window_ms: MINUTE, ..Options::default() };
    let store = Store::open(folder.path(), options.clone()).unwrap();
    for minute in 0..3 {
        store.append(cluster(), &report(minute * MINUTE, &[1.0])).unwrap();
    }
    drop(store);
    let blocks = files(folder.path(), "block");
    fs::write(&blocks[0], b"short").unwrap();
    assert_eq!(read(&Store::open(folder.path(), options.clone()).unwrap())[0].1.len(), 2);
    let mut bytes = fs::read(&blocks[1]).unwrap();
    bytes[10] ^= 0xff;
    fs::write(&blocks[1], bytes).unwrap();
    // Room for two blocks and the log, but not for another.
    let size = fs::metadata(&blocks[1]).unwrap().len();
    let log = fs::metadata(&files(folder.path(), "wal")[0]).unwrap().len();
    let options = Options { disk_bytes_max: log + size * 2 + size / 2, ..options };
    let store = Store::open(folder.path(), options).unwrap();
    // Who asks is answered with what is left, and nothing twice.
    assert_eq!(read(&store)[0].1, [(2 * MINUTE, 1.0)]);
    assert_eq!(files(folder.path(), "damaged").len(), 1);
    // When room is needed, what cannot be read goes first.
    store.append(cluster(), &report(3 * MINUTE, &[1.0])).unwrap();
    store.maintain(4 * MINUTE).unwrap();
    assert_eq!(files(folder.path(), "damaged").len(), 0);
    assert_eq!(read(&store)[0].1, [(2 * MINUTE, 1.0), (3 * MINUTE, 1.0)]);
}

/// A full disk, in the end: the block is written, and the log after it cannot be made.
#[test]
fn a_log_that_went_on_after_its_block_is_not_lost() {
    for torn in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { window_ms: MINUTE, ..Options::default() };
        let store = Store::open(folder.path(), options.clone()).unwrap();
        store.append(cluster(), &report(0, &[1.0])).unwrap();
        let next = folder.path().join(cluster().to_string()).join("0000000001.wal");
        fs::create_dir(&next).unwrap();
        for minute in 1..4 {
            store.append(cluster(), &report(minute * MINUTE, &[1.0])).unwrap();
        }
        let expected = read(&store);
        assert_eq!(expected[0].1.len(), 4);
        assert_eq!(
            (files(folder.path(), "block").len(), files(folder.path(), "wal").len()),
            (1, 2)
        );
        fs::remove_dir(&next).unwrap();
        if torn {
            fs::write(&next, b"").unwrap();
        }
        let copy = copied(folder.path());
        let store = Store::open(copy.path(), options.clone()).unwrap();
        assert_eq!(read(&store), expected, "torn: {torn}");
        store.append(cluster(), &report(4 * MINUTE, &[1.0])).unwrap();
        drop(store);
        assert_eq!(read(&Store::open(copy.path(), options).unwrap())[0].1.len(), 5);
    }
}

#[test]
fn the_noise_of_one_cluster_costs_no_other_its_past() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { window_ms: MINUTE, ..Options::default() };
    let store = Store::open(folder.path(), options.clone()).unwrap();
    let quiet = Id::new(8).unwrap();
    // The quiet one's only block is the oldest of all.
    for minute in 0..2 {
        store.append(quiet, &report(minute * MINUTE, &[1.0])).unwrap();
    }
    for minute in 2..30 {
        store.append(cluster(), &report(minute * MINUTE, &[1.0])).unwrap();
    }
    drop(store);
    let size = fs::metadata(&files(folder.path(), "block")[0]).unwrap().len();
    let small = Options { disk_bytes_max: size * 10, ..options };
    let store = Store::open(folder.path(), small).unwrap();
    store.maintain(30 * MINUTE).unwrap();
    assert_eq!(read_of(&store, quiet)[0].1.len(), 2);
    let noisy = &read(&store)[0].1;
    assert!(noisy.len() < 12 && noisy.last() == Some(&(29 * MINUTE, 1.0)), "{noisy:?}");
}

#[test]
fn a_clock_that_was_set_back_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let hour = 60 * MINUTE;
    store.append(cluster(), &report(20 * hour, &[1.0])).unwrap();
    let late = store.append(cluster(), &report(20 * hour - MINUTE, &[1.0])).unwrap();
    assert_eq!(late, Outcome { repeated: 1, ..Outcome::default() });
    store.append(cluster(), &report(hour, &[2.0])).unwrap();
    assert_eq!(read(&store)[0].1, [(hour, 2.0), (20 * hour, 1.0)]);
}

#[test]
fn too_much_is_refused_and_one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(cluster(), &report(0, &[1.0, 1.0])).unwrap();
    let selection = Selection { samples_max: 1, ..all() };
    assert!(matches!(store.select(cluster(), &selection, |(), _, _| ()), Err(Error::TooMany)));
    assert!(Store::open(folder.path(), Options::default()).is_err());
}
