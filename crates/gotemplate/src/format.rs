//! Text that is made, within a limit, and `printf`.

use crate::value::{self, Value};

/// Most letters that a width or precision may ask for.
const WIDTH_MAX: usize = 1000;

/// Text under construction.
pub(crate) struct Sink {
    text: String,
    limit: usize,
}

impl Sink {
    pub(crate) fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    pub(crate) fn push(&mut self, text: &str) -> Result<(), String> {
        if self.text.len() + text.len() > self.limit {
            return Err(Self::full(crate::OUTPUT_BYTES_MAX));
        }
        self.text += text;
        Ok(())
    }

    pub(crate) fn full(limit: usize) -> String {
        format!("the template makes more than {limit} bytes of text")
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A value as `{{.}}` shows it, of at most `limit` bytes.
pub(crate) fn shown(value: &Value, limit: usize) -> Result<String, String> {
    let mut sink = Sink::new(limit);
    value.show(&mut sink)?;
    Ok(sink.into_text())
}

/// One `%` of a format.
#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    alternate: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `Sprintf`, with its remarks in the text where arguments do not fit.
pub(crate) fn printf(format: &str, arguments: &[Value], limit: usize) -> Result<String, String> {
    let mut out = Sink::new(limit);
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some((plain, behind)) = rest.split_once('%') {
        out.push(plain)?;
        let (spec, behind) = spec(behind)?;
        let Some(verb) = behind.chars().next() else {
            out.push("%!(NOVERB)")?;
            return Ok(out.into_text());
        };
        rest = behind.get(verb.len_utf8()..).unwrap_or_default();
        if verb == '%' {
            out.push("%")?;
            continue;
        }
        match arguments.next() {
            Some(value) => out.push(&spec.pad(&spec.verb(verb, value, limit)?, value))?,
            None => out.push(&format!("%!{verb}(MISSING)"))?,
        }
    }
    out.push(rest)?;
    let extra = arguments.as_slice();
    if !extra.is_empty() {
        out.push("%!(EXTRA ")?;
        for (position, value) in extra.iter().enumerate() {
            out.push(if position > 0 { ", " } else { "" })?;
            out.push(&format!("{}={}", value.type_name(), shown(value, limit)?))?;
        }
        out.push(")")?;
    }
    Ok(out.into_text())
}

fn spec(text: &str) -> Result<(Spec, &str), String> {
    let mut spec = Spec::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next().filter(|letter| "-+# 0".contains(*letter)) {
        match flag {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            '#' => spec.alternate = true,
            ' ' => spec.space = true,
            _ => spec.zero = true,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    (spec.width, rest) = number(rest)?;
    if let Some(behind) = rest.strip_prefix('.') {
        let (precision, behind) = number(behind)?;
        spec.precision = Some(precision);
        rest = behind;
    }
    Ok((spec, rest))
}

fn number(text: &str) -> Result<(usize, &str), String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(digits).unwrap_or((text, ""));
    let number = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    let number = number.filter(|number| *number <= WIDTH_MAX);
    Ok((number.ok_or_else(|| format!("a width is at most {WIDTH_MAX}"))?, rest))
}

impl Spec {
    fn verb(&self, verb: char, value: &Value, limit: usize) -> Result<String, String> {
        let text = match (verb, value) {
            ('v', Value::Int(_)) => return Ok(self.integer('d', value).unwrap_or_default()),
            ('v', Value::Float(_)) => return Ok(self.float('g', value).unwrap_or_default()),
            ('v' | 's', Value::Nil) => (if verb == 'v' { "<nil>" } else { "%!s(<nil>)" }).into(),
            ('s', Value::Bool(_) | Value::Int(_) | Value::Float(_)) => wrong(verb, value, limit)?,
            ('v' | 's', value) => self.cut(&shown(value, limit)?),
            ('t', Value::Bool(value)) => value.to_string(),
            ('q', Value::Text(text)) => quote(&self.cut(text)),
            ('x' | 'X', Value::Text(text)) => {
                self.cut(text).bytes().fold(String::new(), |hex, byte| {
                    hex + &(if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") })
                })
            }
            (verb, value) => match self.integer(verb, value).or_else(|| self.float(verb, value)) {
                Some(text) => text,
                None => wrong(verb, value, limit)?,
            },
        };
        Ok(text)
    }

    /// A text has at most `precision` letters.
    fn cut(&self, text: &str) -> String {
        self.precision.map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect())
    }

    fn integer(&self, verb: char, value: &Value) -> Option<String> {
        let Value::Int(number) = *value else { return None };
        let size = number.unsigned_abs();
        let (prefix, digits) = match verb {
            'd' => ("", size.to_string()),
            'b' => ("0b", format!("{size:b}")),
            'o' => ("0", format!("{size:o}")),
            'x' => ("0x", format!("{size:x}")),
            'X' => ("0X", format!("{size:X}")),
            'c' => return u32::try_from(number).ok().and_then(char::from_u32).map(String::from),
            'U' => return Some(format!("U+{size:04X}")),
            _ => return None,
        };
        let prefix = if self.alternate { prefix } else { "" };
        let least = self.precision.unwrap_or(0);
        Some(format!("{}{prefix}{digits:0>least$}", self.sign(number < 0)))
    }

    fn float(&self, verb: char, value: &Value) -> Option<String> {
        let Value::Float(number) = *value else { return None };
        let size = number.abs();
        let digits = match (verb, self.precision) {
            ('f' | 'F', precision) => format!("{size:.*}", precision.unwrap_or(6)),
            ('e' | 'E', precision) => {
                value::exponent(&format!("{size:.*e}", precision.unwrap_or(6)))
            }
            ('g' | 'G', None) => value::float(size),
            ('g' | 'G', Some(precision)) => general(size, precision.max(1)),
            _ => return None,
        };
        let digits = if verb.is_uppercase() { digits.to_uppercase() } else { digits };
        Some(format!("{}{}", self.sign(number.is_sign_negative()), digits.trim_start_matches('+')))
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        }
    }

    fn pad(&self, text: &str, value: &Value) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        let is_number = matches!(value, Value::Int(_) | Value::Float(_));
        if self.left {
            return format!("{text}{}", " ".repeat(missing));
        }
        if self.zero && is_number {
            let digits = text.trim_start_matches(['+', '-', ' ']);
            let sign = text.get(..text.len() - digits.len()).unwrap_or_default();
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{text}", " ".repeat(missing))
    }
}

/// `%.3g`: so many digits, without zeros at the end.
fn general(size: f64, digits: usize) -> String {
    let written = format!("{size:.*e}", digits - 1);
    let power: i64 = written.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let fixed = usize::try_from(digits as i64 - 1 - power);
    match fixed {
        Ok(decimals) if power >= -4 => trimmed(&format!("{size:.decimals$}")),
        _ => {
            let (digits, power) = written.split_once('e').unwrap_or((&written, "0"));
            value::exponent(&format!("{}e{power}", trimmed(digits)))
        }
    }
}

fn wrong(verb: char, value: &Value, limit: usize) -> Result<String, String> {
    Ok(match value {
        Value::Nil => format!("%!{verb}(<nil>)"),
        value => format!("%!{verb}({}={})", value.type_name(), shown(value, limit)?),
    })
}

/// A text in quotes, as Go code would have it.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            '\r' => quoted += "\\r",
            letter if letter.is_control() => quoted += &format!("\\u{:04x}", u32::from(letter)),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
