//! JSONPath, as far as APISIX has it in variables of bodies: `user.roles[0]`, `messages[*].content`,
//! `..name`, `items[-1:]`, `items['a','b']`, `items[?(@.price > 10)].name`.

use std::cmp::Ordering;

use serde_json::Value;

/// Values that are looked at for one question, so that none costs much.
const VISITS_MAX: usize = 100_000;

/// Brackets within brackets, at most.
const DEPTH_MAX: usize = 8;

/// A way from a document to values in it.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
struct Step {
    /// From everything below, not only from here.
    deep: bool,
    picks: Vec<Pick>,
}

#[derive(Debug, Clone, PartialEq)]
enum Pick {
    All,
    Name(String),
    /// Negative ones count from the end.
    Index(i64),
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: usize,
    },
    If(JsonPath, Option<(Test, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Test {
    Equal,
    Different,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Longer ones first, as they begin with others.
const TESTS: [(&str, Test); 6] = [
    ("==", Test::Equal),
    ("!=", Test::Different),
    ("<=", Test::AtMost),
    (">=", Test::AtLeast),
    ("<", Test::Less),
    (">", Test::Greater),
];

/// Whether a path may lead to several values; it leads to a list then.
#[must_use]
pub fn forks(path: &str) -> bool {
    path.contains(['[', '*']) || path.contains("..")
}

impl JsonPath {
    /// Reads a path; a leading `$` may be left out. None if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        steps(text.strip_prefix('$').unwrap_or(text), 0).filter(|path| !path.0.is_empty())
    }

    /// The values it leads to.
    #[must_use]
    pub fn find<'a>(&self, document: &'a Value) -> Vec<&'a Value> {
        self.follow(document, &mut { VISITS_MAX })
    }

    fn follow<'a>(&self, document: &'a Value, visits: &mut usize) -> Vec<&'a Value> {
        let mut found = vec![document];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.take(value, visits, &mut next);
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value, visits: &mut usize, found: &mut Vec<&'a Value>) {
        for pick in &self.picks {
            pick.take(value, visits, found);
        }
        if self.deep {
            for value in children(value) {
                if *visits == 0 {
                    return;
                }
                *visits -= 1;
                self.take(value, visits, found);
            }
        }
    }
}

impl Pick {
    fn take<'a>(&self, value: &'a Value, visits: &mut usize, found: &mut Vec<&'a Value>) {
        let before = found.len();
        match (self, value) {
            (Self::All, _) => found.extend(children(value).take(*visits)),
            (Self::Name(name), _) => found.extend(value.get(name)),
            (Self::Index(index), Value::Array(list)) => {
                let place = usize::try_from(from_start(*index, list.len()));
                found.extend(place.ok().and_then(|place| list.get(place)));
            }
            (Self::Slice { start, end, step }, Value::Array(list)) => {
                let place = |index: i64| {
                    usize::try_from(from_start(index, list.len()).max(0)).unwrap_or(usize::MAX)
                };
                let start = start.map_or(0, place);
                let end = end.map_or(list.len(), place).min(list.len());
                found.extend(list.get(start..end).unwrap_or_default().iter().step_by(*step));
            }
            (Self::If(path, test), _) => {
                for child in children(value) {
                    if *visits == 0 {
                        return;
                    }
                    *visits -= 1;
                    let values = path.follow(child, visits);
                    let fits = |(test, wanted): &(Test, Value)| {
                        values.iter().any(|value| test.holds(value, wanted))
                    };
                    if test.as_ref().map_or(!values.is_empty(), fits) {
                        found.push(child);
                    }
                }
            }
            _ => {}
        }
        *visits = visits.saturating_sub(found.len() - before);
    }
}

impl Test {
    fn holds(self, value: &Value, wanted: &Value) -> bool {
        let order = match (value, wanted) {
            (Value::Number(one), Value::Number(other)) => {
                one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other))
            }
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            _ => (value == wanted).then_some(Ordering::Equal),
        };
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Different => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn from_start(index: i64, length: usize) -> i64 {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    if index < 0 { length.saturating_add(index) } else { index }
}

fn steps(mut rest: &str, depth: usize) -> Option<JsonPath> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let deep = rest.starts_with("..");
        let after = rest.trim_start_matches('.');
        // A name stands at the beginning or behind a point, and points do not come in threes.
        let points = rest.len() - after.len();
        if points > 2 || (points == 0 && !steps.is_empty() && !after.starts_with('[')) {
            return None;
        }
        let picks;
        (picks, rest) = match after.strip_prefix('[') {
            Some(inside) => {
                let (inside, behind) = bracket(inside)?;
                (picks_of(inside, depth)?, behind)
            }
            None => {
                let (name, behind) = after.split_at(after.find(['.', '[']).unwrap_or(after.len()));
                let pick = match name {
                    "*" => Pick::All,
                    name if name.is_empty() || name.contains(is_special) => return None,
                    name => Pick::Name(name.to_owned()),
                };
                (vec![pick], behind)
            }
        };
        steps.push(Step { deep, picks });
    }
    Some(JsonPath(steps))
}

/// Whether names have it only in quotes.
fn is_special(letter: char) -> bool {
    letter.is_whitespace() || "]()'\"?@,=<>!~&|".contains(letter)
}

/// What stands in a bracket that is open, and what follows.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let end = outside_quotes(text).find(|(_, letter, open)| *letter == ']' && *open == 0)?.0;
    let (inside, behind) = text.split_at_checked(end)?;
    Some((inside.trim(), behind.strip_prefix(']')?))
}

/// Letters that are not quoted, where they are, and how many brackets are open before them.
fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char, usize)> {
    let (mut quote, mut open) = (None, 0_usize);
    text.char_indices().filter_map(move |(place, letter)| {
        let before = open;
        match (quote, letter) {
            (Some(begun), _) => {
                if begun == letter {
                    quote = None;
                }
                return None;
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                return None;
            }
            (None, '[') => open += 1,
            (None, ']') => open = open.saturating_sub(1),
            _ => {}
        }
        Some((place, letter, before))
    })
}

fn picks_of(inside: &str, depth: usize) -> Option<Vec<Pick>> {
    if let Some(filter) = inside.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        return Some(vec![filter_of(filter, depth + 1)?]);
    }
    let mut picks = Vec::new();
    let mut rest = inside;
    loop {
        let comma = outside_quotes(rest).find(|(_, letter, _)| *letter == ',');
        let (one, behind) = match comma {
            Some((place, ..)) => rest.split_at_checked(place)?,
            None => (rest, ""),
        };
        picks.push(pick_of(one.trim())?);
        match behind.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => return Some(picks),
        }
    }
}

fn pick_of(text: &str) -> Option<Pick> {
    if text == "*" {
        return Some(Pick::All);
    }
    if let Some(name) = unquoted(text) {
        return Some(Pick::Name(name.to_owned()));
    }
    if !text.contains(':') {
        return text.parse().ok().map(Pick::Index);
    }
    let mut parts = text.split(':').map(str::trim);
    let mut number = || match parts.next() {
        None | Some("") => Some(None),
        Some(number) => number.parse::<i64>().ok().map(Some),
    };
    let (start, end, step) = (number()?, number()?, number()?.unwrap_or(1));
    let step = usize::try_from(step).ok().filter(|step| *step > 0)?;
    parts.next().is_none().then_some(Pick::Slice { start, end, step })
}

fn unquoted(text: &str) -> Option<&str> {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"'))
}

/// `@.path`, or that compared with a text, a number, `true`, `false` or `null`.
fn filter_of(text: &str, depth: usize) -> Option<Pick> {
    if depth > DEPTH_MAX {
        return None;
    }
    let own = text.trim().strip_prefix('@')?;
    let sign = outside_quotes(own)
        .find(|(_, letter, open)| *open == 0 && matches!(letter, '=' | '!' | '<' | '>'));
    let Some((place, ..)) = sign else { return Some(Pick::If(steps(own.trim(), depth)?, None)) };
    let (path, rest) = own.split_at_checked(place)?;
    let (test, wanted) =
        TESTS.iter().find_map(|(sign, test)| Some((*test, rest.strip_prefix(sign)?.trim())))?;
    let wanted = match unquoted(wanted) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(wanted).ok()?,
    };
    Some(Pick::If(steps(path.trim(), depth)?, Some((test, wanted))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let document = json!({
            "user": {"name": "jack", "roles": ["admin", "dev", "ops"]},
            "items": [
                {"name": "a", "price": 5, "tags": {"x.y": 1}},
                {"name": "b", "price": 15},
                {"price": 20.5},
            ],
        });
        for (path, expected) in [
            ("user.name", json!(["jack"])),
            ("$.user.name", json!(["jack"])),
            ("user.roles[0]", json!(["admin"])),
            ("user.roles[-1]", json!(["ops"])),
            ("user.roles[9]", json!([])),
            ("user.roles[*]", json!(["admin", "dev", "ops"])),
            ("user.roles[1:]", json!(["dev", "ops"])),
            ("user.roles[-2:-1]", json!(["dev"])),
            ("user.roles[::2]", json!(["admin", "ops"])),
            ("user.roles[0,2]", json!(["admin", "ops"])),
            ("user['name']", json!(["jack"])),
            ("items[*]['name','price']", json!(["a", 5, "b", 15, 20.5])),
            ("items.*.name", json!(["a", "b"])),
            ("..name", json!(["jack", "a", "b"])),
            ("user..*", json!(["jack", ["admin", "dev", "ops"], "admin", "dev", "ops"])),
            (".[\"user\"].name", json!(["jack"])),
            ("items[?(@.name)].price", json!([5, 15])),
            ("items[?(@.price > 10)].price", json!([15, 20.5])),
            ("items[?(@.price<=15)].name", json!(["a", "b"])),
            ("items[?(@.name == 'b')].price", json!([15])),
            ("items[?(@['name'] != \"b\")].name", json!(["a"])),
            ("user.roles[?(@ == 'dev')]", json!(["dev"])),
            ("items[0].tags['x.y']", json!([1])),
            ("nothing[*]", json!([])),
        ] {
            let found = JsonPath::parse(path).map(|path| json!(path.find(&document)));
            let sorted = |value: &Value| {
                let mut texts: Vec<String> =
                    value.as_array().unwrap().iter().map(Value::to_string).collect();
                texts.sort();
                texts
            };
            assert_eq!(found.as_ref().map(sorted), Some(sorted(&expected)), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_told() {
        for text in [
            "",
            "$",
            "a[",
            "a[]",
            "a[x]",
            "a]b[",
            "a...b",
            "a.",
            "a..",
            "a[1:2:3:4]",
            "a[::0]",
            "a[0]b",
            "a[?(b)]",
            "a[?(@.b ~ 1)]",
            "a[?(@.b == x)]",
            "a['b]",
        ] {
            assert_eq!(JsonPath::parse(text), None, "{text}");
        }
        let nested = "a[?(@".repeat(20) + &")]".repeat(20);
        assert_eq!(JsonPath::parse(&nested), None);
    }

    #[test]
    fn no_question_costs_much() {
        let mut document = json!([1]);
        for _ in 0..100 {
            document = json!([document, document["x"], 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        let path = JsonPath::parse("..*..*..*..*").unwrap();
        assert!(path.find(&document).len() <= VISITS_MAX);
    }
}
