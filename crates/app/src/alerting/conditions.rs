//! Whether the conditions of a policy hold, given what is known of one moment. Pure: checks of
//! running policies and back-tests ask here.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_model::Timestamp;
use gantry_model::alert_policy::{
    Comparison, StatusCodeCondition, StatusCodeWindow, ThresholdCondition, TimeUnit,
    TriggerCondition, TriggerOperator, TriggerSettings,
};
use gantry_model::instance::PURGE_AFTER_S;

use crate::alert_template::Event;
use crate::metrics::Counted;

/// Units that have a plural.
const TIMES: [&str; 6] = ["second", "minute", "hour", "day", "month", "year"];
/// Names that a sentence about several things tells.
const NAMES_MAX: usize = 5;

/// What conditions look at, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub now: Timestamp,
    pub ground: &'a Ground,
    pub answers: &'a Counted,
}

/// What is known of a cluster's gateways and certificates.
#[derive(Debug, Default)]
pub(super) struct Ground {
    /// By id.
    pub instances: BTreeMap<String, Sighting>,
    /// Certificates by which gateways join.
    pub join_certificates: Vec<Expiry>,
    /// Certificates that people have uploaded.
    pub certificates: Vec<Expiry>,
}

/// When a gateway was last heard of.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub name: Arc<str>,
    pub last_seen: Timestamp,
}

/// When a certificate ends, and since when it is known.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    pub name: Arc<str>,
    pub since: Timestamp,
    pub not_after: Timestamp,
}

/// What a look at all conditions has found.
#[derive(Debug)]
pub(super) struct Verdict {
    /// As many of them hold as must.
    pub fires: bool,
    /// Those that hold, by the name of their event.
    pub events: BTreeMap<&'static str, Event>,
}

pub(super) fn judge(triggers: &TriggerSettings, facts: &Facts<'_>) -> Verdict {
    let mut events: BTreeMap<&'static str, Event> = BTreeMap::new();
    let mut holding = 0;
    for condition in &triggers.trigger_conditions {
        let Some(event) = event(condition, facts) else { continue };
        holding += 1;
        // Templates know events by name: two conditions of one kind are told in one text.
        match events.get_mut(condition.event()) {
            Some(first) => first.summary = format!("{}; {}", first.summary, event.summary),
            None => _ = events.insert(condition.event(), event),
        }
    }
    let fires = match triggers.trigger_logical_operator {
        TriggerOperator::All => holding == triggers.trigger_conditions.len() && holding > 0,
        TriggerOperator::Any => holding > 0,
    };
    Verdict { fires, events }
}

/// Windows that the conditions count answers over, in seconds, each once.
pub(super) fn windows(triggers: &TriggerSettings) -> Vec<i64> {
    let seconds = triggers.trigger_conditions.iter().filter_map(|condition| match condition {
        TriggerCondition::NumberOfStatusCode(one) | TriggerCondition::RatioOfStatusCode(one) => {
            Some(window_s(&one.event_config))
        }
        _ => None,
    });
    let mut seconds: Vec<i64> = seconds.collect();
    seconds.sort_unstable();
    seconds.dedup();
    seconds
}

fn window_s(window: &StatusCodeWindow) -> i64 {
    window.duration.saturating_mul(window.unit.seconds())
}

/// What happened, if the condition holds.
fn event(condition: &TriggerCondition, facts: &Facts<'_>) -> Option<Event> {
    match condition {
        TriggerCondition::NumberOfStatusCode(one) => number(one, facts),
        TriggerCondition::RatioOfStatusCode(one) => ratio(one, facts),
        TriggerCondition::ControlPlaneCertificateWillExpireIn(one) => expiry(
            one,
            &facts.ground.join_certificates,
            "certificate by which gateways join",
            facts.now,
        ),
        TriggerCondition::GatewayCertificateWillExpireIn(one) => {
            expiry(one, &facts.ground.certificates, "certificate of", facts.now)
        }
        TriggerCondition::GatewayInstanceOffline(one) => offline(one, facts),
    }
}

fn number(condition: &StatusCodeCondition, facts: &Facts<'_>) -> Option<Event> {
    let (found, _) = counted(&condition.event_config, facts);
    // Counters count whole answers.
    let found = found.round();
    compare(condition.operator, found, condition.value).then(|| {
        let StatusCodeWindow { http_status_code: code, duration, unit } = &condition.event_config;
        let span = span(*duration, *unit);
        let what = format!("{found} answers with status {code} in the last {span}");
        told(&what, condition.operator, condition.value, "answers")
    })
}

/// Where nothing was answered, there is no ratio.
fn ratio(condition: &StatusCodeCondition, facts: &Facts<'_>) -> Option<Event> {
    let (found, all) = counted(&condition.event_config, facts);
    let percent = if all > 0.0 { found / all * 100.0 } else { return None };
    compare(condition.operator, percent, condition.value).then(|| {
        let StatusCodeWindow { http_status_code: code, duration, unit } = &condition.event_config;
        let (span, all) = (span(*duration, *unit), all.round());
        let what =
            format!("{percent:.1} percent of {all} answers in the last {span} had status {code}");
        told(&what, condition.operator, condition.value, "percent")
    })
}

/// Answers with the status of the condition, and all of them.
fn counted(window: &StatusCodeWindow, facts: &Facts<'_>) -> (f64, f64) {
    let Some(answers) = facts.answers.get(&window_s(window)) else { return (0.0, 0.0) };
    let code = window.http_status_code.as_str();
    let wanted = |status: u16| match code.strip_suffix("xx") {
        Some(class) => class.parse() == Ok(status / 100),
        None => code.parse() == Ok(status),
    };
    let sum = |of: &dyn Fn(u16) -> bool| {
        answers.iter().filter(|(status, _)| of(**status)).map(|(_, count)| *count).sum()
    };
    (sum(&wanted), sum(&|_| true))
}

#[expect(clippy::cast_precision_loss, reason = "thresholds and counts are far below 2^53")]
fn compare(operator: Comparison, found: f64, value: i64) -> bool {
    let value = value as f64;
    match operator {
        Comparison::LargerEqual => found >= value,
        Comparison::LargerThan => found > value,
        Comparison::LessEqual => found <= value,
        Comparison::LessThan => found < value,
        Comparison::Equal => (found - value).abs() < 0.5,
    }
}

/// A certificate that has ended ends in less than any time.
fn expiry(
    condition: &ThresholdCondition,
    certificates: &[Expiry],
    noun: &str,
    now: Timestamp,
) -> Option<Event> {
    let limit = condition.value.saturating_mul(condition.value_unit.seconds());
    let left = |one: &Expiry| one.not_after.seconds().saturating_sub(now.seconds());
    let ends = |one: &&Expiry| match condition.operator {
        Comparison::LessThan => left(one) < limit,
        _ => left(one) <= limit,
    };
    let known = certificates.iter().filter(|one| one.since <= now);
    let mut found: Vec<&Expiry> = known.filter(ends).collect();
    found.sort_by_key(|one| one.not_after);
    let first = found.first()?;
    let days = left(first).div_euclid(TimeUnit::Day.seconds());
    let when = match days {
        0.. => format!("ends in {}", span(days, TimeUnit::Day)),
        _ => "has ended".to_owned(),
    };
    let names = names(found.iter().map(|one| &one.name));
    let what = format!("the {noun} {names} {when}, on {}", date(first.not_after));
    Some(told(&what, condition.operator, condition.value, unit(condition.value_unit)))
}

/// Silence is counted in whole units for `equal`, which would else never be hit. Instances that are
/// silent for a week are forgotten.
fn offline(condition: &ThresholdCondition, facts: &Facts<'_>) -> Option<Event> {
    let unit_s = condition.value_unit.seconds();
    let limit = condition.value.saturating_mul(unit_s);
    let silence = |one: &Sighting| facts.now.seconds().saturating_sub(one.last_seen.seconds());
    let is_offline = |one: &&Sighting| {
        let silence = silence(one);
        let holds = match condition.operator {
            Comparison::LargerThan => silence > limit,
            Comparison::Equal => silence.div_euclid(unit_s) == condition.value,
            _ => silence >= limit,
        };
        holds && silence < PURGE_AFTER_S
    };
    let mut found: Vec<&Sighting> = facts.ground.instances.values().filter(is_offline).collect();
    found.sort_by_key(|one| one.last_seen);
    let first = found.first()?;
    let names = names(found.iter().map(|one| &one.name));
    let silence = lasting(silence(first));
    let what = format!("the gateway instance {names} has not been heard of for {silence}");
    Some(told(&what, condition.operator, condition.value, unit(condition.value_unit)))
}

/// An event in words that fit into the JSON of a message as they are.
fn told(what: &str, operator: Comparison, value: i64, unit: &str) -> Event {
    let than = match operator {
        Comparison::LargerEqual => "at least",
        Comparison::LargerThan => "more than",
        Comparison::LessEqual => "at most",
        Comparison::LessThan => "less than",
        Comparison::Equal => "exactly",
    };
    let plain =
        |letter: char| if letter.is_control() || "\"\\".contains(letter) { '_' } else { letter };
    let what: String = what.chars().map(plain).collect();
    let unit_told = if value == 1 || !TIMES.contains(&unit) { "" } else { "s" };
    let summary = format!("{what}; the alert is for {than} {value} {unit}{unit_told}");
    Event { summary, operator: operator.name().to_owned(), value, unit: unit.to_owned() }
}

fn names<'a>(all: impl Iterator<Item = &'a Arc<str>>) -> String {
    let all: Vec<&str> = all.map(AsRef::as_ref).collect();
    let told = all.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// A time in the largest unit that it fills.
fn lasting(seconds: i64) -> String {
    let units = [TimeUnit::Day, TimeUnit::Hour, TimeUnit::Minute];
    let unit = units.into_iter().find(|unit| seconds >= unit.seconds());
    let unit = unit.unwrap_or(TimeUnit::Second);
    span(seconds.div_euclid(unit.seconds()), unit)
}

fn span(count: i64, of: TimeUnit) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {}{plural}", unit(of))
}

fn unit(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "second",
        TimeUnit::Minute => "minute",
        TimeUnit::Hour => "hour",
        TimeUnit::Day => "day",
        TimeUnit::Month => "month",
        TimeUnit::Year => "year",
    }
}

fn date(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    fn ground() -> Ground {
        let sighting = |name: &str, silence: i64| {
            let last_seen = Timestamp::from_seconds(NOW - silence);
            (name.to_owned(), Sighting { name: name.into(), last_seen })
        };
        let expiry = |name: &str, left: i64| Expiry {
            name: name.into(),
            since: Timestamp::from_seconds(NOW),
            not_after: Timestamp::from_seconds(NOW + left),
        };
        // Nobody knew of it yet.
        let later = Expiry { since: Timestamp::from_seconds(NOW + 1), ..expiry("later", 1) };
        Ground {
            instances: [sighting("gw-1", 5), sighting("gw-\"2\"", 330)].into(),
            join_certificates: vec![expiry("0a1b", 30 * DAY), later],
            certificates: vec![expiry("b.example.com", -1), expiry("a.example.com", 7 * DAY)],
        }
    }

    fn status(event: &str, code: &str, minutes: i64, operator: &str, value: i64) -> Value {
        json!({ "event": event, "operator": operator, "value": value, "event_config": {
            "http_status_code": code, "duration": minutes, "unit": "minute" } })
    }

    fn limit(event: &str, operator: &str, value: i64, unit: &str) -> Value {
        json!({ "event": event, "operator": operator, "value": value, "value_unit": unit })
    }

    fn verdict(operator: &str, conditions: &[&Value]) -> Verdict {
        let triggers = json!({ "trigger_logical_operator": operator,
                               "trigger_conditions": conditions });
        let answers = BTreeMap::from([
            (60, BTreeMap::from([(200, 90.0), (500, 4.0), (502, 6.0)])),
            (3600, BTreeMap::new()),
        ]);
        let (now, ground) = (Timestamp::from_seconds(NOW), ground());
        let facts = Facts { now, ground: &ground, answers: &answers };
        judge(&serde_json::from_value(triggers).unwrap(), &facts)
    }

    #[test]
    fn every_condition_holds_from_its_threshold_on() {
        let number =
            |code, operator, value| status("number_of_status_code", code, 1, operator, value);
        let ratio =
            |code, operator, value| status("ratio_of_status_code", code, 1, operator, value);
        let join = |operator, value| {
            limit("control_plane_certificate_will_expire_in", operator, value, "day")
        };
        let offline =
            |operator, value, unit| limit("gateway_instance_offline", operator, value, unit);
        for (condition, holds) in [
            (number("5xx", "larger_equal", 10), true),
            (number("5xx", "larger_than", 10), false),
            (number("502", "larger_than", 5), true),
            (number("404", "larger_equal", 1), false),
            (number("404", "larger_equal", 0), true),
            (ratio("5xx", "larger_equal", 10), true),
            (ratio("5xx", "larger_than", 10), false),
            (ratio("200", "larger_than", 89), true),
            // An hour without any answer has no ratio.
            (status("ratio_of_status_code", "5xx", 60, "larger_equal", 0), false),
            (status("number_of_status_code", "5xx", 60, "larger_equal", 0), true),
            (join("less_equal", 30), true),
            (join("less_than", 30), false),
            (offline("larger_equal", 330, "second"), true),
            (offline("larger_than", 330, "second"), false),
            (offline("larger_than", 5, "minute"), true),
            (offline("equal", 5, "minute"), true),
            (offline("equal", 4, "minute"), false),
            (offline("larger_equal", 6, "minute"), false),
        ] {
            for operator in ["All", "Any"] {
                assert_eq!(verdict(operator, &[&condition]).fires, holds, "{condition}");
            }
        }
    }

    #[test]
    fn all_asks_for_every_condition_and_any_for_one() {
        let yes = status("number_of_status_code", "5xx", 1, "larger_than", 1);
        let also = limit("gateway_instance_offline", "larger_equal", 1, "minute");
        let no = limit("gateway_instance_offline", "larger_equal", 1, "day");
        for (conditions, all, any) in [
            (&[&yes][..], true, true),
            (&[&yes, &also], true, true),
            (&[&yes, &no], false, true),
            (&[&no, &yes], false, true),
            (&[&no, &no], false, false),
        ] {
            assert_eq!(verdict("All", conditions).fires, all, "{conditions:?}");
            assert_eq!(verdict("Any", conditions).fires, any, "{conditions:?}");
        }
        let events = verdict("Any", &[&yes, &no]).events;
        assert_eq!(events.keys().copied().collect::<Vec<_>>(), ["number_of_status_code"]);
    }

    #[test]
    fn events_are_told_in_words() {
        let offline = limit("gateway_instance_offline", "larger_than", 1, "minute");
        let ended = limit("gateway_certificate_will_expire_in", "less_equal", 7, "day");
        let few = status("ratio_of_status_code", "5xx", 1, "larger_than", 5);
        let many = status("ratio_of_status_code", "200", 1, "larger_than", 80);
        let events = verdict("All", &[&offline, &ended, &few, &many]).events;
        let told = |name: &str| events[name].summary.clone();
        // Quotes would break the JSON that most templates are.
        assert_eq!(
            told("gateway_instance_offline"),
            "the gateway instance gw-_2_ has not been heard of for 5 minutes; the alert is for more \
             than 1 minute"
        );
        assert_eq!(
            told("gateway_certificate_will_expire_in"),
            "the certificate of b.example.com, a.example.com has ended, on 2027-01-15; the alert is \
             for at most 7 days"
        );
        assert_eq!(
            told("ratio_of_status_code"),
            "10.0 percent of 100 answers in the last 1 minute had status 5xx; the alert is for more \
             than 5 percent; 90.0 percent of 100 answers in the last 1 minute had status 200; the \
             alert is for more than 80 percent"
        );
        assert_eq!((events["ratio_of_status_code"].value, events.len()), (5, 3));
    }
}
