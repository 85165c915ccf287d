//! The table against a matcher that is too simple to be wrong.

use gantry_routing::table::{Pattern, RouteTable};
use proptest::prelude::*;

use crate::naive::{self, Placed};

const HOSTS: [&str; 7] =
    ["*", "*.foo.com", "*foo.com", "foo.com", "a.foo.com", "*.a.foo.com", "bar.com"];

const ASKED_HOSTS: [&str; 8] =
    ["foo.com", "A.foo.com", "b.foo.com", "x.a.foo.com", "xfoo.com", "bar.com", "", "com"];

const PATTERNS: [&str; 15] = [
    "/", "/*", "*", "/a", "/a*", "/a/", "/a/*", "/ab", "/ab*", "/a/*/c", "/a/*/c/*", "/a*c",
    "/a/b", "/abc/d", "/a/*x",
];

const PATHS: [&str; 14] = [
    "/",
    "/a",
    "/a/",
    "/ab",
    "/abc",
    "/a/b",
    "/a/b/c",
    "/a/b/d/c",
    "/a/b/c/d",
    "/b",
    "/abc/d",
    "/abc/d/e",
    "/a/b\nc/c",
    "/ac",
];

fn placed() -> impl Strategy<Value = Placed> {
    let host = proptest::option::of(proptest::sample::select(&HOSTS[..]));
    let pattern = proptest::sample::select(&PATTERNS[..]);
    (host, pattern, 0..6_u8, -1..2_i64, proptest::bool::weighted(0.8)).prop_map(
        |(host, pattern, id, priority, is_accepted)| Placed {
            host: host.map(str::to_owned),
            pattern: pattern.to_owned(),
            id: id.to_string(),
            priority,
            is_accepted,
        },
    )
}

/// The table and the list it must agree with.
#[derive(Clone, Default)]
struct Pair {
    table: RouteTable<(String, bool)>,
    list: Vec<Placed>,
}

impl Pair {
    fn insert(&mut self, route: &Placed) {
        self.forget(route);
        self.list.push(route.clone());
        let pattern = Pattern::compile(&route.pattern).expect("the pattern compiles");
        let value = (route.id.clone(), route.is_accepted);
        self.table.insert(
            route.host.as_deref(),
            &pattern,
            &route.id.as_str().into(),
            route.priority,
            value,
        );
    }

    fn remove(&mut self, route: &Placed) {
        self.forget(route);
        let pattern = Pattern::compile(&route.pattern).expect("the pattern compiles");
        self.table.remove(route.host.as_deref(), &pattern, &route.id);
    }

    fn forget(&mut self, route: &Placed) {
        self.list.retain(|other| {
            (&other.host, &other.pattern, &other.id) != (&route.host, &route.pattern, &route.id)
        });
    }

    fn agrees(&self) -> Result<(), TestCaseError> {
        for host in ASKED_HOSTS {
            for path in PATHS {
                let found = self.table.lookup(host, path, |(_, is_accepted)| *is_accepted);
                let expected = naive::find(&self.list, host, path);
                prop_assert_eq!(found.map(|(id, _)| id.as_str()), expected, "{} {:?}", host, path);
            }
        }
        prop_assert_eq!(self.table.is_empty(), self.list.is_empty());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_table_finds_what_the_rules_say(
        steps in proptest::collection::vec((placed(), proptest::bool::weighted(0.65)), 0..40),
    ) {
        let mut pair = Pair::default();
        let mut clones = Vec::new();
        for (step, (route, is_insert)) in steps.iter().enumerate() {
            if *is_insert { pair.insert(route) } else { pair.remove(route) }
            if step % 10 == 0 {
                clones.push(pair.clone());
            }
        }
        pair.agrees()?;
        for clone in &clones {
            clone.agrees()?;
        }
        for route in pair.list.clone() {
            pair.remove(&route);
        }
        prop_assert!(pair.table.is_empty());
    }

    #[test]
    fn random_paths_are_found_again(
        paths in proptest::collection::btree_set("/[a-c/]{0,12}", 0..60),
        asked in "/[a-c/]{0,12}",
    ) {
        let mut pair = Pair::default();
        for path in &paths {
            for pattern in [path.clone(), format!("{path}*")] {
                let id = pattern.clone();
                let route = Placed { host: None, pattern, id, priority: 0, is_accepted: true };
                pair.insert(&route);
            }
        }
        let found = pair.table.lookup("any", &asked, |_| true).map(|(id, _)| id.as_str());
        prop_assert_eq!(found, naive::find(&pair.list, "any", &asked));
    }
}

#[test]
fn segments_beside_a_star_are_regular_expressions_as_in_apisix() {
    let table_with = |pattern: &str| {
        let mut table = RouteTable::new();
        table.insert(None, &Pattern::compile(pattern).unwrap(), &"1".into(), 0, ());
        table
    };
    let finds =
        |pattern: &str, path: &str| table_with(pattern).lookup("h", path, |()| true).is_some();
    assert!(!finds("/c++/*", "/c++/x"));
    assert!(!finds("/a(b)/*", "/a(b)/x"));
    assert!(finds("/a.b/*", "/a.b/x"));
    assert!(finds("/c++*", "/c++/x"));
    assert!(finds("/:id", "/:id"));
    assert!(!finds("/:id", "/7"));
    assert!(Pattern::compile("/a(/*").unwrap_err().contains("`/a(/*` never matches"));
}
