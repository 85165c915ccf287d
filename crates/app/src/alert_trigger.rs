//! What the contract cannot say about the conditions of an alert policy.

use gantry_model::Violation;
use gantry_model::alert_policy::{
    Comparison, StatusCodeCondition, ThresholdCondition, TimeUnit, TriggerCondition,
    TriggerSettings,
};
use gantry_model::instance::PURGE_AFTER_S;

/// Longest time a condition may speak of: numbers beyond are mistakes.
const YEARS_MAX: i64 = 100;

/// Every broken rule of the conditions.
pub(crate) fn violations(triggers: &TriggerSettings) -> Vec<Violation> {
    let mut found = Vec::new();
    for (position, condition) in triggers.trigger_conditions.iter().enumerate() {
        let at = format!("trigger_conditions[{position}]");
        match condition {
            TriggerCondition::NumberOfStatusCode(condition) => {
                check_window(&at, condition, &mut found);
                if condition.value < 0 {
                    found.push(Violation::new(format!("{at}.value"), "must be at least 0", "100"));
                }
            }
            TriggerCondition::RatioOfStatusCode(condition) => {
                check_window(&at, condition, &mut found);
                if !(0..=100).contains(&condition.value) {
                    let rule = "is a percentage and must be 0 to 100";
                    found.push(Violation::new(format!("{at}.value"), rule, "5"));
                }
            }
            TriggerCondition::ControlPlaneCertificateWillExpireIn(condition)
            | TriggerCondition::GatewayCertificateWillExpireIn(condition) => {
                check_span(&at, "value", 0, condition.value, condition.value_unit, &mut found);
            }
            TriggerCondition::GatewayInstanceOffline(condition) => {
                check_span(&at, "value", 1, condition.value, condition.value_unit, &mut found);
            }
        }
    }
    found
}

fn check_window(at: &str, condition: &StatusCodeCondition, found: &mut Vec<Violation>) {
    let window = &condition.event_config;
    if !is_status_code(&window.http_status_code) {
        found.push(Violation::new(
            format!("{at}.event_config.http_status_code"),
            "must be one code from 200 to 599 or one of the classes 2xx, 3xx, 4xx and 5xx",
            "\"5xx\"",
        ));
    }
    let at = format!("{at}.event_config");
    check_span(&at, "duration", 1, window.duration, window.unit, found);
}

/// The contract's pattern has no ends: it also fits a part of a longer text.
fn is_status_code(text: &str) -> bool {
    let [class, rest @ ..] = text.as_bytes() else { return false };
    let is_code = rest.len() == 2 && rest.iter().all(u8::is_ascii_digit);
    (b'2'..=b'5').contains(class) && (is_code || rest == b"xx")
}

fn check_span(
    at: &str,
    field: &str,
    least: i64,
    value: i64,
    unit: TimeUnit,
    found: &mut Vec<Violation>,
) {
    let most = YEARS_MAX * TimeUnit::Year.seconds() / unit.seconds();
    if !(least..=most).contains(&value) {
        let rule = format!("must be {least} to {most}, which is {YEARS_MAX} years");
        found.push(Violation::new(format!("{at}.{field}"), rule, "7"));
    }
}

/// Says which conditions keep every rule and still can never hold.
pub(crate) fn warning(triggers: &TriggerSettings) -> Option<String> {
    let reasons = triggers.trigger_conditions.iter().enumerate().filter_map(|(position, one)| {
        let reason = never_holds(one)?;
        Some(format!("trigger_conditions[{position}] can never hold: {reason}"))
    });
    let reasons: Vec<String> = reasons.collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn never_holds(condition: &TriggerCondition) -> Option<&'static str> {
    match condition {
        TriggerCondition::RatioOfStatusCode(StatusCodeCondition {
            operator: Comparison::LargerThan,
            value: 100..,
            ..
        }) => Some("no ratio is larger than 100 percent"),
        TriggerCondition::GatewayInstanceOffline(ThresholdCondition {
            value, value_unit, ..
        }) if value.saturating_mul(value_unit.seconds()) >= PURGE_AFTER_S => {
            Some("an instance that was silent for 7 days is forgotten")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(conditions: &Value) -> TriggerSettings {
        let whole = json!({ "trigger_logical_operator": "All", "trigger_conditions": conditions });
        serde_json::from_value(whole).unwrap()
    }

    fn status(event: &str, code: &str, duration: i64, value: i64) -> Value {
        json!({ "event": event, "operator": "larger_than", "value": value, "event_config": {
            "http_status_code": code, "duration": duration, "unit": "minute" } })
    }

    fn span(event: &str, operator: &str, value: i64, unit: &str) -> Value {
        json!({ "event": event, "operator": operator, "value": value, "value_unit": unit })
    }

    #[test]
    fn good_conditions_pass_without_a_word() {
        let good = read(&json!([
            status("number_of_status_code", "502", 1, 0),
            status("ratio_of_status_code", "5xx", 1440, 99),
            span("control_plane_certificate_will_expire_in", "less_equal", 30, "day"),
            span("gateway_certificate_will_expire_in", "less_than", 0, "day"),
            span("gateway_instance_offline", "larger_than", 1, "second"),
        ]));
        assert_eq!(violations(&good), []);
        assert_eq!(warning(&good), None);
    }

    #[test]
    fn every_broken_rule_is_named_with_its_condition() {
        let bad = read(&json!([
            status("number_of_status_code", "1502", 0, -1),
            status("ratio_of_status_code", "6xx", i64::MAX, 101),
            status("ratio_of_status_code", "5xy", 1, -1),
            span("gateway_certificate_will_expire_in", "less_than", i64::MAX, "day"),
            span("gateway_instance_offline", "equal", 0, "year"),
        ]));
        let fields: Vec<String> = violations(&bad).into_iter().map(|one| one.field).collect();
        let expected = [
            "[0].event_config.http_status_code",
            "[0].event_config.duration",
            "[0].value",
            "[1].event_config.http_status_code",
            "[1].event_config.duration",
            "[1].value",
            "[2].event_config.http_status_code",
            "[2].value",
            "[3].value",
            "[4].value",
        ];
        assert_eq!(fields, expected.map(|field| format!("trigger_conditions{field}")));
    }

    #[test]
    fn conditions_that_never_hold_are_told() {
        let vain = read(&json!([
            status("ratio_of_status_code", "5xx", 1, 100),
            span("gateway_instance_offline", "equal", 7, "day"),
            span("gateway_instance_offline", "larger_equal", 2, "month"),
        ]));
        assert_eq!(violations(&vain), []);
        assert_eq!(warning(&vain).unwrap().matches("can never hold").count(), 3);
    }
}
