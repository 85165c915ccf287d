use proptest::prelude::*;

use super::*;

/// What an alert looks like to a template.
fn data() -> Value {
    let event = |summary: &str| Value::record("Event", vec![("Summary", Value::text(summary))]);
    let events = [("offline", "one is gone"), ("ratio", "5 % of \"500\"")];
    let list: Vec<Value> = (1..=3).map(Value::Int).collect();
    Value::record(
        "Alert",
        vec![
            ("Title", Value::text("Gateway down")),
            ("AlertTime", Value::Time("2026-03-07T09:05:06.25Z".parse().unwrap())),
            ("AlertEvents", Value::map(events.map(|(name, text)| (name.into(), event(text))))),
            ("List", Value::List(list.into())),
            ("Share", Value::Float(0.5)),
        ],
    )
}

#[track_caller]
fn render(source: &str) -> String {
    Template::parse(source).unwrap().render(&data()).unwrap()
}

#[track_caller]
fn refused(source: &str) -> String {
    let rendered = Template::parse(source).and_then(|template| template.render(&data()));
    rendered.unwrap_err().to_string()
}

/// Templates and what Go's text/template makes of them.
const CASES: &[(&str, &str)] = &[
    ("plain { text }", "plain { text }"),
    ("{{.Title}}!", "Gateway down!"),
    ("a  {{- /* no */ -}}  b {{- 3}} {{-4 -}} c", "ab3 -4c"),
    (r#"{{.AlertTime.Format "2006 Jan 02 15:04:05"}}"#, "2026 Mar 07 09:05:06"),
    (
        r#"{{.AlertTime.Format "Monday, 2 January 06 03:04PM Z07:00 .000"}}"#,
        "Saturday, 7 March 26 09:05AM Z .250",
    ),
    ("{{.AlertTime}} {{.AlertTime.Unix}}", "2026-03-07 09:05:06.25 +0000 UTC 1772874306"),
    (r#"{{(index .AlertEvents "offline").Summary}}"#, "one is gone"),
    ("{{.AlertEvents.offline.Summary}}", "one is gone"),
    (
        "{{range $name, $event := .AlertEvents}}{{$name}}={{$event.Summary | escape}};{{end}}",
        r#"offline=one is gone;ratio=5 % of \"500\";"#,
    ),
    ("{{if .AlertEvents.expired}}yes{{else if .AlertEvents.ratio}}else{{else}}no{{end}}", "else"),
    (r#"{{if index .AlertEvents "expired"}}yes{{else}}no{{end}}"#, "no"),
    (
        "{{with .AlertEvents.ratio}}{{.Summary}}{{$.Title}}{{else}}none{{end}}",
        "5 % of \"500\"Gateway down",
    ),
    ("{{with .AlertEvents.expired}}x{{else}}none{{end}}", "none"),
    ("{{len .AlertEvents}} {{len .Title}} {{.Title | len | printf \"%03d\"}}", "2 12 012"),
    ("{{if and (eq (len .List) 3) (not false) (gt 2 1)}}ok{{end}}", "ok"),
    (
        "{{eq .Title \"a\" \"Gateway down\"}} {{ne 1 2}} {{le 2 2}} {{lt \"a\" \"b\"}}",
        "true true true true",
    ),
    ("{{or .AlertEvents.none \"fallback\"}} {{and 1 0 2}}", "fallback 0"),
    ("{{range $i, $n := .List}}{{if eq $n 3}}{{break}}{{end}}{{$i}}:{{.}} {{end}}", "0:1 1:2 "),
    ("{{range .List}}{{if eq . 2}}{{continue}}{{end}}{{.}}{{else}}empty{{end}}", "13"),
    ("{{range 3}}{{.}}{{end}}{{range .AlertEvents.none}}x{{else}}-{{end}}", "012-"),
    ("{{$x := 1}}{{range .List}}{{$x = .}}{{end}}{{$x}}", "3"),
    (
        "{{define \"line\"}}<{{.}}>{{end}}{{template \"line\" .Title}}{{block \"b\" 7}}[{{.}}]{{end}}",
        "<Gateway down>[7]",
    ),
    (
        "{{printf \"%-5s|%5d|%q|%x|%.2f|%v|%t|%%|%+d\" \"ab\" 42 \"a\\\"b\" 255 3.14159 .List true 7}}",
        "ab   |   42|\"a\\\"b\"|ff|3.14|[1 2 3]|true|%|+7",
    ),
    ("{{printf \"%d %s\" \"a\"}}", "%!d(string=a) %!s(MISSING)"),
    ("{{printf \"%g %g %.3g %e\" 0.5 1e21 1234.5 2.0}}", "0.5 1e+21 1.23e+03 2.000000e+00"),
    ("{{print 1 2 \"a\" 3}}{{println}}", "1 2a3\n"),
    ("{{html \"<a&b>\"}} {{urlquery \"a b&c\"}} {{js \"it's\"}}", "&lt;a&amp;b&gt; a+b%26c it\\'s"),
    ("{{slice .Title 0 7}} {{index .List 1}} {{.Share}}", "Gateway 2 0.5"),
    (
        "{{0x1F}} {{017}} {{1_000}} {{'a'}} {{1e3}} {{`raw \\n`}} {{\"\\u00e9\\t\"}}",
        "31 15 1000 97 1000 raw \\n é\t",
    ),
    ("{{.AlertEvents.none}} {{.AlertEvents.none.Summary}}", "<no value> <no value>"),
    ("{{\n  .Title\n  | printf \"%s\"\n}}", "Gateway down"),
];

#[test]
fn templates_render_as_in_go() {
    for (source, expected) in CASES {
        assert_eq!(render(source), *expected, "{source}");
    }
}

#[test]
fn faults_are_told_with_their_place() {
    for (source, expected) in [
        ("a\nbé {{.Titel}}", "line 2, column 6: Alert has no field .Titel, only .Title"),
        ("{{if .Title}}", "line 1, column 1: {{if}} has no {{end}}"),
        ("{{end}}", "line 1, column 1: {{end}} without a beginning"),
        ("x {{ .Title", "line 1, column 3: the action has no end"),
        ("{{upper .Title}}", "line 1, column 3: unknown function upper; there are and, eq, escape"),
        ("{{.AlertEvents[\"a\"]}}", "line 1, column 15: unexpected '['"),
        ("{{$x}}", "undefined variable $x"),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", "undefined variable $x"),
        ("{{break}}", "{{break}} outside of a range"),
        ("{{}}", "there is nothing between"),
        ("{{\"a}}", "no closing \""),
        ("{{.Title \"x\"}}", ".Title is no method"),
        ("{{.AlertTime.Add 1}}", "a time has no method .Add"),
        ("{{eq 1 \"a\"}}", "eq: cannot compare a int with a string"),
        ("{{len 1 2}}", "len: cannot take 2 arguments"),
        ("{{template \"none\"}}", "there is no template \"none\""),
        ("{{if 1}}{{else}}{{else}}{{end}}", "a second {{else}}"),
        ("{{1 2}}", "this is no function"),
        ("{{(.Title}}", "the parenthesis is not closed"),
        ("{{/* a }}", "the comment has no end"),
        ("{{range .Title}}{{end}}", "a string has no items"),
    ] {
        let message = refused(source);
        assert!(message.contains(expected), "{source}: {message}");
    }
}

#[test]
fn greedy_templates_are_stopped() {
    let nested = format!("{}{}", "{{if 1}}".repeat(60), "{{end}}".repeat(60));
    let parentheses = format!("{{{{{}1{}}}}}", "(".repeat(60), ")".repeat(60));
    for (source, expected) in [
        (&"x".repeat(SOURCE_BYTES_MAX + 1), "longer than 65536 bytes"),
        (&nested, "inside each other"),
        (&parentheses, "inside each other"),
        (
            &"{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}".into(),
            "inside each other",
        ),
        (&"{{range 9000000000}}{{end}}".into(), "more than 20000 steps"),
        (
            &"{{range 5000}}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{end}}"
                .into(),
            "bytes of text",
        ),
        (&"{{$x := \"aaaaaaaa\"}}{{range 100}}{{$x = print $x $x}}{{end}}".into(), "bytes of text"),
        (&"{{printf \"%999999999d\" 1}}".into(), "a width is at most 1000"),
        (&format!("{{{{printf \"{}\"}}}}", "%1000d".repeat(400)), ""),
    ] {
        let template = Template::parse(source).and_then(|template| template.render(&data()));
        let message = template.unwrap_or_else(|error| error.to_string());
        assert!(message.contains(expected) && message.len() <= OUTPUT_BYTES_MAX, "{message:.200}");
    }
}

/// Words of templates, so that what is tried often parses.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        ".",
        ".Title",
        ".AlertTime",
        ".Format",
        ".AlertEvents",
        ".List",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "define ",
        "template ",
        "block ",
        "break",
        "continue",
        "\"a\"",
        "\"%5.2f%v\"",
        "`r`",
        "'c'",
        "0x1f",
        "-1",
        "1e400",
        "9",
        "nil",
        "true",
        "index ",
        "slice ",
        "printf ",
        "print ",
        "len ",
        "eq ",
        "and ",
        "escape ",
        "js ",
        "{{end}}",
        "{{range .List}}",
        "{{if .Title}}",
        "/*",
        "*/",
        "é",
        "\n",
        "\\",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_refused_or_renders_within_the_limits(source in prop_oneof![words(), ".*"]) {
        if let Ok(text) = Template::parse(&source).and_then(|template| template.render(&data())) {
            prop_assert!(text.len() <= OUTPUT_BYTES_MAX);
        }
    }

    #[test]
    fn any_format_and_layout_prints(format in "[-+# 0-9.%a-zA-Zé]{0,20}", number in any::<i64>(), float in any::<f64>()) {
        let values = [Value::Int(number), Value::Float(float), Value::text("é\"")];
        for value in &values {
            let _ = format::printf(&format, std::slice::from_ref(value), 5000);
        }
        let time = Value::Time(jiff::Timestamp::UNIX_EPOCH);
        prop_assert!(time.field("Format", &[Value::text(&format)]).is_ok());
    }

    #[test]
    fn texts_without_actions_stay(text in "[^{]*") {
        prop_assert_eq!(Template::parse(&text).unwrap().render(&data()).unwrap(), text);
    }

    #[test]
    fn escaped_texts_keep_their_meaning_in_json(text in any::<String>()) {
        let escaped = functions::call("escape", &[Value::text(&text)], OUTPUT_BYTES_MAX).unwrap();
        let Value::Text(escaped) = escaped else { unreachable!("a text") };
        prop_assert!(!escaped.contains(|letter: char| u32::from(letter) < 0x20));
        prop_assert!(!escaped.replace("\\\\", "").replace("\\\"", "").contains('"'));
    }
}
