//! Ranges of keys, the directories gateways expect, and the names APISIX 2.15 has for two of them.

use std::borrow::Cow;

use bytes::Bytes;

/// What every key of a cluster starts with; the clusters themselves are told apart by identity.
pub const ROOT: &str = "/apisix/";

/// The first text behind all keys of a cluster.
const ROOT_END: &str = "/apisix0";

/// The directories of APISIX 3, ascending. Each starts with a placeholder: gateways before 3.4 take
/// a directory without one for missing.
pub const DIRECTORIES: [&str; 13] = [
    "consumer_groups",
    "consumers",
    "global_rules",
    "plugin_configs",
    "plugin_metadata",
    "plugins",
    "protos",
    "routes",
    "secrets",
    "services",
    "ssls",
    "stream_routes",
    "upstreams",
];

/// What a placeholder holds. Not JSON on purpose: gateways would take JSON for a resource.
pub const PLACEHOLDER: &str = "init_dir";

/// Where gateways report themselves; not configuration.
pub const SERVER_INFO: &str = "/apisix/data_plane/server_info/";

/// The first key after [`SERVER_INFO`].
pub const SERVER_INFO_END: &str = "/apisix/data_plane/server_info0";

/// Directories that APISIX 2.15 calls by another name than version 3.
static RENAMED: [Renamed; 2] =
    [Renamed { old: "ssl", new: "ssls" }, Renamed { old: "proto", new: "protos" }];

#[derive(Debug, PartialEq, Eq)]
struct Renamed {
    old: &'static str,
    new: &'static str,
}

/// The keys a request asks for, by etcd's rules.
#[derive(Clone, Debug)]
pub struct KeyRange {
    from: Bytes,
    end: End,
    /// Set when the request asks for a directory by the name APISIX 2.15 has for it.
    renamed: Option<&'static Renamed>,
}

#[derive(Clone, Debug)]
enum End {
    /// Only the key itself.
    Single,
    Before(Bytes),
    Open,
}

impl KeyRange {
    /// The range of a request's `key` and `range_end`.
    #[must_use]
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        if let Some(renamed) = RENAMED.iter().find(|renamed| renamed.is_asked(&key, &range_end)) {
            let directory = format!("{ROOT}{}", renamed.new);
            return Self {
                from: format!("{directory}/").into(),
                end: End::Before(format!("{directory}0").into()),
                renamed: Some(renamed),
            };
        }
        let end = match &*range_end {
            b"" => End::Single,
            b"\0" => End::Open,
            _ => End::Before(range_end),
        };
        Self { from: key, end, renamed: None }
    }

    /// Whether the range holds `key`, as it is stored.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        let key = key.as_bytes();
        match &self.end {
            End::Single => key == self.from,
            End::Before(end) => *self.from <= *key && *key < **end,
            End::Open => *self.from <= *key,
        }
    }

    /// Whether the range holds every key of a cluster, by its own name.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.renamed.is_none()
            && *self.from <= *ROOT.as_bytes()
            && match &self.end {
                End::Single => false,
                End::Before(end) => **end >= *ROOT_END.as_bytes(),
                End::Open => true,
            }
    }

    /// Whether the range holds nothing but what starts with `prefix`.
    #[must_use]
    pub fn is_inside(&self, prefix: &str) -> bool {
        self.from.starts_with(prefix.as_bytes())
            && match &self.end {
                End::Single => true,
                End::Before(end) => **end <= *after_all_with(prefix),
                End::Open => false,
            }
    }

    /// The smallest stretch of a cluster's keys, `from` up to and without `to`, that holds the
    /// range: keys are text, but the bounds of a range need not be.
    #[must_use]
    pub fn stretch(&self) -> (&str, Option<&str>) {
        let from = text(&self.from).filter(|from| *from > ROOT).unwrap_or(ROOT);
        match &self.end {
            End::Single => (text(&self.from).unwrap_or(ROOT), None),
            End::Before(end) => {
                (from, Some(text(end).filter(|end| *end < ROOT_END).unwrap_or(ROOT_END)))
            }
            End::Open => (from, Some(ROOT_END)),
        }
    }

    /// The placeholders inside the range, ascending.
    pub fn placeholders(&self) -> impl Iterator<Item = String> {
        DIRECTORIES
            .iter()
            .map(|directory| format!("{ROOT}{directory}/"))
            .filter(|key| self.contains(key))
    }

    /// The name under which the asker knows `key`.
    #[must_use]
    pub fn shown<'a>(&self, key: &'a str) -> Cow<'a, str> {
        let old = self.renamed.and_then(|renamed| {
            let rest = key.strip_prefix(ROOT)?.strip_prefix(renamed.new)?;
            Some(format!("{ROOT}{}{rest}", renamed.old))
        });
        old.map_or(Cow::Borrowed(key), Cow::Owned)
    }
}

impl Renamed {
    /// Whether a range is exactly this directory by its old name, with or without the slash.
    fn is_asked(&self, key: &[u8], range_end: &[u8]) -> bool {
        let bare = format!("{ROOT}{}", self.old);
        let slashed = format!("{bare}/");
        [bare, slashed]
            .iter()
            .any(|prefix| key == prefix.as_bytes() && range_end == after_all_with(prefix))
    }
}

/// Whether `key` is the placeholder of a directory, in the names of any version.
#[must_use]
pub fn is_placeholder(key: &str) -> bool {
    let directory = key.strip_prefix(ROOT).and_then(|rest| rest.strip_suffix('/'));
    directory.is_some_and(|directory| {
        DIRECTORIES.contains(&directory) || RENAMED.iter().any(|renamed| renamed.old == directory)
    })
}

/// The first text behind everything that starts with `prefix`: its last byte plus one.
fn after_all_with(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &str, end: &str) -> KeyRange {
        KeyRange::new(
            Bytes::copy_from_slice(key.as_bytes()),
            Bytes::copy_from_slice(end.as_bytes()),
        )
    }

    #[test]
    fn a_range_without_an_end_is_one_key() {
        let single = range("/apisix/", "");
        assert!(single.contains("/apisix/") && !single.contains("/apisix/routes/1"));
        assert_eq!(single.stretch(), ("/apisix/", None));
        assert!(!single.is_everything());
    }

    #[test]
    fn the_whole_space_is_recognised_in_all_its_spellings() {
        for (key, end) in
            [("/apisix", "/apisiy"), ("/apisix/", "/apisix0"), ("\0", "\0"), ("/", "\0")]
        {
            let whole = range(key, end);
            assert!(whole.is_everything(), "{key:?}..{end:?}");
            assert!(whole.contains("/apisix/routes/1"));
            assert_eq!(whole.stretch(), ("/apisix/", Some("/apisix0")));
            assert_eq!(whole.placeholders().count(), 13);
        }
        assert!(!range("/apisix/routes", "/apisix/routet").is_everything());
    }

    #[test]
    fn the_two_directories_of_2_15_are_answered_under_their_old_names() {
        for (key, end) in [("/apisix/ssl", "/apisix/ssm"), ("/apisix/ssl/", "/apisix/ssl0")] {
            let old = range(key, end);
            assert!(old.contains("/apisix/ssls/7") && !old.contains("/apisix/ssl/7"));
            assert_eq!(old.shown("/apisix/ssls/7"), "/apisix/ssl/7");
            assert_eq!(old.placeholders().collect::<Vec<_>>(), ["/apisix/ssls/"]);
        }
        let protos = range("/apisix/proto", "/apisix/protp");
        assert_eq!(protos.shown("/apisix/protos/1"), "/apisix/proto/1");
    }

    #[test]
    fn other_ranges_keep_the_names_of_version_3() {
        for (key, end) in [("/apisix/ssls", "/apisix/sslt"), ("/apisix/s", "/apisix/t")] {
            assert_eq!(range(key, end).shown("/apisix/ssls/7"), "/apisix/ssls/7");
        }
        assert!(range("/apisix/ssl", "").stretch().1.is_none());
    }

    #[test]
    fn bounds_that_are_not_text_are_widened_and_still_filter() {
        let odd =
            KeyRange::new(Bytes::from_static(b"/apisix/\xff"), Bytes::from_static(b"\xff\xff"));
        assert_eq!(odd.stretch(), ("/apisix/", Some("/apisix0")));
        assert!(!odd.contains("/apisix/routes/1"));
    }

    #[test]
    fn placeholders_are_known_by_the_names_of_every_version() {
        assert!(
            ["/apisix/routes/", "/apisix/ssl/", "/apisix/protos/"].map(is_placeholder) == [true; 3]
        );
        assert!(
            ["/apisix/routes/1", "/apisix/other/", "/routes/"].map(is_placeholder) == [false; 3]
        );
    }
}
