//! Prometheus' text format, under the prefix APISIX uses.

use std::fmt::Write;

// Writing to a String cannot fail, so the results below are dropped.

/// The two lines before the series of one name.
pub fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP apisix_{name} {help}\n# TYPE apisix_{name} {kind}");
}

/// One series.
pub fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let mut text = String::new();
    for (name, value) in labels {
        label(&mut text, name, value);
    }
    let braces = if text.is_empty() { ("", "") } else { ("{", "}") };
    let _ = writeln!(out, "apisix_{name}{}{text}{} {value}", braces.0, braces.1);
}

/// Appends one label, its value escaped.
pub fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}
