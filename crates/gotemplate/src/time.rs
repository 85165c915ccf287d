//! Times, printed by Go's layouts: an example time says how.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::value::Value;

/// Parts of a layout and what they stand for, in the words of strftime; longer ones first.
const PARTS: [(&str, &str); 29] = [
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("2006", "%Y"),
    ("Z07:00", "Z"),
    ("Z0700", "Z"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("-07", "+00"),
    ("__2", "%3j"),
    ("002", "%j"),
    ("_2006", " %Y"),
    ("_2", "%e"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// `.name` of a time.
pub(crate) fn method(moment: Timestamp, name: &str, arguments: &[Value]) -> Result<Value, String> {
    match (name, arguments) {
        ("Format", [Value::Text(layout)]) => Ok(Value::text(&format(moment, layout))),
        ("Format", _) => {
            Err("Format needs a layout in quotes, such as \"2006-01-02 15:04:05\"".into())
        }
        ("Unix", []) => Ok(Value::Int(moment.as_second())),
        ("UnixMilli", []) => Ok(Value::Int(moment.as_millisecond())),
        ("UTC", []) => Ok(Value::Time(moment)),
        ("String", []) => Ok(Value::text(&string(moment))),
        _ => Err(format!(
            "a time has no method .{name} with {} arguments, only .Format, .Unix, .UnixMilli, .UTC \
             and .String",
            arguments.len()
        )),
    }
}

/// The time as Go prints it.
pub(crate) fn string(moment: Timestamp) -> String {
    format(moment, "2006-01-02 15:04:05.999999999 -0700 MST")
}

fn format(moment: Timestamp, layout: &str) -> String {
    let time = moment.to_zoned_datetime(TimeZone::UTC);
    let mut text = String::new();
    let mut rest = layout;
    while let Some(letter) = rest.chars().next() {
        let found = PARTS.iter().find(|(part, _)| begins(rest, part));
        if let Some((part, directive)) = found {
            text += &part_of(&time, directive);
            rest = rest.get(part.len()..).unwrap_or_default();
        } else if let Some((fraction, length)) = fraction(&time, rest) {
            text += &fraction;
            rest = rest.get(length..).unwrap_or_default();
        } else {
            text.push(letter);
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
    }
    text
}

/// `Jan` at the start of `January` or `Janet` is no month.
fn begins(rest: &str, part: &str) -> bool {
    let is_short = matches!(part, "Jan" | "Mon");
    rest.strip_prefix(part).is_some_and(|behind| {
        !is_short || !behind.starts_with(|next: char| next.is_ascii_lowercase())
    })
}

fn part_of(time: &ZonedDateTime, directive: &str) -> String {
    match directive {
        "%3j" => format!("{:>3}", time.day_of_year()),
        plain if !plain.contains('%') => plain.to_owned(),
        directive => time.strftime(directive).to_string(),
    }
}

/// `.000` prints so many digits of the fraction, `.999` leaves zeros at the end away.
fn fraction(time: &ZonedDateTime, rest: &str) -> Option<(String, usize)> {
    let mut letters = rest.chars();
    let point = letters.next().filter(|letter| matches!(letter, '.' | ','))?;
    let digit = letters.next().filter(|letter| matches!(letter, '0' | '9'))?;
    let count = rest.get(1..)?.chars().take_while(|letter| *letter == digit).count();
    if rest.get(1 + count..)?.starts_with(|next: char| next.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{:09}", time.subsec_nanosecond());
    let mut digits = nanoseconds.get(..count.min(9))?;
    if digit == '9' {
        digits = digits.trim_end_matches('0');
    }
    let text = if digits.is_empty() { String::new() } else { format!("{point}{digits}") };
    Some((text, 1 + count))
}
