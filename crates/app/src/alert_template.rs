//! Bodies of webhooks: what templates see of an alert, and the rehearsal that finds their mistakes
//! before an alert does.

use std::collections::BTreeMap;

use gantry_gotemplate::{Template, Value};
use gantry_model::alert_policy::EVENTS;
use gantry_model::{Timestamp, Violation};

/// An alert as templates see it.
pub(crate) struct Alert<'a> {
    /// Title of the alert, not the policy's name.
    pub title: &'a str,
    pub time: Timestamp,
    /// What has happened, by name of the event; what has not is absent and false in an `if`.
    pub events: BTreeMap<&'a str, Event>,
    pub name: &'a str,
    pub description: &'a str,
    pub severity: &'a str,
    pub class: &'a str,
    pub detail: &'a str,
}

/// One event of an alert.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// A sentence about what happened.
    pub summary: String,
    pub operator: String,
    /// What the condition compares with.
    pub value: i64,
    /// What `value` is counted in, such as `day` or `percent`.
    pub unit: String,
}

/// The body that a template makes of an alert; the error says where and why it cannot.
pub(crate) fn render(template: &Template, alert: &Alert<'_>) -> Result<String, String> {
    template.render(&data(alert)).map_err(|error| error.to_string())
}

fn data(alert: &Alert<'_>) -> Value {
    let events = alert.events.iter().map(|(name, event)| ((*name).to_owned(), event_data(event)));
    Value::record(
        "the alert",
        vec![
            ("Title", Value::text(alert.title)),
            ("AlertTime", Value::time(alert.time.micros())),
            ("AlertEvents", Value::map(events)),
            ("Name", Value::text(alert.name)),
            ("Description", Value::text(alert.description)),
            ("Severity", Value::text(alert.severity)),
            ("Class", Value::text(alert.class)),
            ("Detail", Value::text(alert.detail)),
        ],
    )
}

fn event_data(event: &Event) -> Value {
    let Event { summary, operator, value, unit } = event;
    Value::record(
        "an event",
        vec![
            ("Summary", Value::text(summary)),
            ("Operator", Value::text(operator)),
            ("Value", Value::Int(*value)),
            ("Unit", Value::text(unit)),
        ],
    )
}

/// What is wrong with a template: it does not parse, or it fails with one of the alerts that can
/// happen. Each event is tried alone and all of them together, so that every branch is taken.
pub(crate) fn violation(field: &str, text: &str) -> Option<Violation> {
    let broken = |reason: String| {
        let rule = format!("is no usable Go template: {reason}");
        let example = r#""{{.Title}}: {{range .AlertEvents}}{{.Summary}} {{end}}""#;
        Violation::new(field, rule, example)
    };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => return Some(broken(error.to_string())),
    };
    let alone = EVENTS.iter().map(std::slice::from_ref);
    for events in alone.chain([EVENTS.as_slice()]) {
        if let Err(reason) = render(&template, &sample(events)) {
            let names = events.join(", ");
            return Some(broken(format!("{reason} (with an alert about {names})")));
        }
    }
    None
}

/// What the alert of a trial says happened.
pub(crate) const TRIAL: &str = "this is a test: nothing has happened";

/// An alert to try a webhook with: all events at once, so that every part of its template shows.
pub(crate) fn trial<'a>(
    name: &'a str,
    title: &'a str,
    severity: &'a str,
    time: Timestamp,
) -> Alert<'a> {
    let mut alert = Alert { title, time, name, severity, ..sample(&EVENTS) };
    for event in alert.events.values_mut() {
        TRIAL.clone_into(&mut event.summary);
    }
    Alert { description: TRIAL, detail: TRIAL, ..alert }
}

fn sample<'a>(events: &[&'a str]) -> Alert<'a> {
    let event = Event {
        summary: "the number of 5xx answers is 120, more than 100".into(),
        operator: "larger_than".into(),
        value: 100,
        unit: "answers".into(),
    };
    Alert {
        title: "Gateways of production are in trouble",
        time: Timestamp::from_seconds(1_893_499_200),
        events: events.iter().map(|name| (*name, event.clone())).collect(),
        name: "production",
        description: "Too many errors",
        severity: "high",
        class: "cluster",
        detail: "See the runbook",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_the_guides_are_accepted() {
        for template in [
            "",
            "plain text",
            r#"{"title": "{{escape .Title}}", "time": "{{.AlertTime.Format "2006 Jan 02 15:04:05"}}"}"#,
            "{{if .AlertEvents.gateway_instance_offline}}{{.AlertEvents.gateway_instance_offline.Summary}}{{end}}",
            r#"{{with index .AlertEvents "number_of_status_code"}}{{.Summary}} {{.Value}}{{.Unit}}{{end}}"#,
            "{{range $name, $event := .AlertEvents}}{{printf \"%s: %s\\n\" $name $event.Summary}}{{end}}",
            "{{.Name}} {{.Description}} {{.Severity}} {{.Class}} {{.Detail}} {{len .AlertEvents}}",
            "{{if eq .Severity \"high\"}}!{{else}}.{{end}}",
        ] {
            assert_eq!(violation("template", template), None, "{template}");
        }
    }

    #[test]
    fn mistakes_are_found_with_place_and_reason() {
        for (template, expected) in [
            ("{{.Title", "line 1, column 1: the action has no end"),
            ("a\n{{.Titel}}", "line 2, column 3: the alert has no field .Titel, only .Title"),
            ("{{shout .Title}}", "unknown function shout"),
            (
                "{{with .AlertEvents.gateway_instance_offline}}{{.Sumary}}{{end}}",
                "an event has no field .Sumary, only .Summary, .Operator, .Value, .Unit (with an \
                 alert about gateway_instance_offline)",
            ),
            (r#"{{.AlertEvents["number_of_status_code"].Summary}}"#, "unexpected '['"),
        ] {
            let found = violation("template", template).unwrap().to_string();
            assert!(found.contains(expected), "{found}");
        }
    }
}
