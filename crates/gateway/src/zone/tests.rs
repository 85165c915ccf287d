use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::{Zone, bounded::Bounded, *};

fn response(key: &str, body: &str) -> Stored {
    let headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
        (header::SET_COOKIE, HeaderValue::from_bytes(b"a=\xff").unwrap()),
    ];
    let body = Bytes::from(body.to_owned());
    let content = Content::Response { status: StatusCode::OK, headers, body };
    Stored { key: key.to_owned(), stored_ms: 1, expires_ms: 2, content }
}

fn zones(directory: &Path) -> [Zone; 2] {
    [
        Zone::Memory(Arc::new(Memory::new(100_000))),
        Zone::Disk(Arc::new(Disk::open(directory, 100_000).unwrap())),
    ]
}

#[test]
fn what_is_put_in_is_found_until_it_is_purged() {
    let directory = tempfile::tempdir().unwrap();
    for zone in zones(directory.path()) {
        assert_eq!(zone.find("k"), None);
        zone.put("k", Vec::new(), response("k", "one"));
        zone.put("k", Vec::new(), response("k", "two"));
        assert_eq!(*zone.find("k").unwrap(), response("k", "two"));
        assert!(zone.purge("k"));
        assert!(!zone.purge("k"));
        assert_eq!(zone.find("k"), None);
    }
}

#[test]
fn variants_are_purged_together_and_are_not_too_many() {
    let directory = tempfile::tempdir().unwrap();
    for zone in zones(directory.path()) {
        for number in 0..70 {
            zone.put("k", vec!["accept".to_owned()], response(&format!("k{number}"), "x"));
        }
        let Content::Variants { names, keys } = &zone.find("k").unwrap().content else {
            panic!("no list of variants")
        };
        assert_eq!((names.len(), keys.len()), (1, 64));
        assert!(zone.find("k5").is_none() && zone.find("k6").is_some());
        assert!(zone.purge("k"));
        assert!(zone.find("k69").is_none());
    }
}

#[test]
fn the_size_is_kept_and_what_is_used_stays_longest() {
    let directory = tempfile::tempdir().unwrap();
    for zone in zones(directory.path()) {
        zone.put("used", Vec::new(), response("used", "x"));
        for number in 0..100 {
            let key = number.to_string();
            zone.put(&key, Vec::new(), response(&key, &"x".repeat(10_000)));
            assert!(zone.find("used").is_some(), "{number}");
        }
        assert!(zone.find("0").is_none() && zone.find("99").is_some());
        zone.put("huge", Vec::new(), response("huge", &"x".repeat(200_000)));
        assert!(zone.find("huge").is_none() && zone.find("99").is_some());
    }
    let sizes = |path| std::fs::read_dir(path).unwrap().map(|file| file.unwrap().metadata());
    let shelves = std::fs::read_dir(directory.path()).unwrap();
    let files = shelves.flat_map(|shelf| sizes(shelf.unwrap().path()));
    let total: u64 = files.map(|about| about.unwrap().len()).sum();
    assert!(total <= 100_000, "{total}");
}

#[test]
fn files_survive_a_restart_unless_they_are_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let open = |size| Zone::Disk(Arc::new(Disk::open(directory.path(), size).unwrap()));
    let zone = open(100_000);
    for key in ["whole", "cut", "flipped"] {
        zone.put(key, Vec::new(), response(key, "a body"));
    }
    let path = |key: &str| {
        let name = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(key));
        directory.path().join(&name[..2]).join(name)
    };
    let cut = std::fs::read(path("cut")).unwrap();
    std::fs::write(path("cut"), &cut[..cut.len() / 2]).unwrap();
    let mut flipped = std::fs::read(path("flipped")).unwrap();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    std::fs::write(path("flipped"), flipped).unwrap();
    let unfinished = path("whole").with_extension("1.new");
    std::fs::write(&unfinished, "half").unwrap();
    let zone = open(100_000);
    assert_eq!(*zone.find("whole").unwrap(), response("whole", "a body"));
    assert!(zone.find("cut").is_none() && zone.find("flipped").is_none());
    assert!(!path("cut").exists() && !path("flipped").exists() && !unfinished.exists());
    drop(open(1));
    assert!(!path("whole").exists(), "a smaller zone keeps less");
}

#[test]
fn no_text_makes_reading_panic() {
    let whole = response("k", "body").encode().unwrap();
    for end in 0..whole.len() {
        assert_eq!(Stored::decode(whole.slice(..end)), None);
    }
    assert_eq!(Stored::decode(whole), Some(response("k", "body")));
    let mut short = b"gantry\x00\x01\x00\x00".to_vec();
    short.extend_from_slice(&crc32fast::hash(&short).to_be_bytes());
    assert_eq!(Stored::decode(short.into()), None);
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let map = Bounded::new(1000);
    for _ in 0..1000 {
        map.put("k", (), 1);
        map.remove("k");
        map.put("l", (), 1);
    }
    assert_eq!(map.weight(), 1);
    assert!(map.queued() <= 100, "{}", map.queued());
}

#[test]
fn zones_are_written_in_one_line() {
    let zone = |name: &str, size, directory: Option<&str>| {
        Ok(ZoneOptions { name: name.to_owned(), size, directory: directory.map(PathBuf::from) })
    };
    assert_eq!("a=50m".parse(), zone("a", 50 << 20, None));
    assert_eq!("a=7".parse(), zone("a", 7, None));
    assert_eq!("a=1G:/x:y".parse(), zone("a", 1 << 30, Some("/x:y")));
    for text in ["a", "=1m", "a=", "a=m", "a=1t", "a=1m:", "a=99999999999g"] {
        assert!(text.parse::<ZoneOptions>().is_err(), "{text}");
    }
}
