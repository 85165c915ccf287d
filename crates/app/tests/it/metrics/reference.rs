//! What the answers should be, computed from all reports in the plainest way there is: for each
//! moment, over a list of all samples, by PromQL's rules.

use std::collections::BTreeMap;

use gantry_model::metrics::MetricType;

use super::traffic::{Name, Report};
use super::{Answers, Question};

type Samples = Vec<(f64, f64)>;

/// All samples of each gateway's series; times in seconds.
pub struct Reference(Vec<(&'static str, Name, Samples)>);

impl Reference {
    /// A counter that a run has not reported before was zero when its gateway reported the last time.
    pub fn new(reports: &[Report]) -> Self {
        let mut series: BTreeMap<(&'static str, Name), (usize, Samples)> = BTreeMap::new();
        let mut heard: BTreeMap<&'static str, f64> = BTreeMap::new();
        for report in reports {
            let time = seconds(report.time);
            let before = heard.insert(report.instance, time);
            for (name, value) in &report.values {
                let is_new = !series.contains_key(&(report.instance, name.clone()));
                let (run, samples) = series.entry((report.instance, name.clone())).or_default();
                if name.1.contains_key("state") {
                    samples.push((time, *value));
                    continue;
                }
                if let Some(before) = before.filter(|_| is_new || *run != report.run) {
                    let last = samples.last().map_or(f64::MIN, |(time, _)| time + 0.001);
                    samples.push((before.max(last), 0.0));
                }
                samples.push((time, *value));
                *run = report.run;
            }
        }
        let flat = |((instance, name), (_, samples))| (instance, name, samples);
        Self(series.into_iter().map(flat).collect())
    }

    pub fn answer(&self, kind: MetricType, question: &Question) -> Answers {
        let window = seconds(question.step.max(60));
        let rates = |family: &str, label: Option<&'static str>| {
            self.sum(question, family, label, |samples, end| rate(samples, end - window, end))
        };
        let step = |mut answers: Answers| {
            answers.values_mut().for_each(|value| *value *= seconds(question.step));
            answers
        };
        match kind {
            MetricType::ApiRequests => {
                step(merged(rates("apisix_http_status", None), |_| Some("")))
            }
            MetricType::ApiFailureRequests => {
                let codes = rates("apisix_http_status", Some("code"));
                step(merged(codes, |code| (code >= "400").then_some("")))
            }
            MetricType::ApiStatusDist => step(rates("apisix_http_status", Some("code"))),
            MetricType::ApiQps => {
                let codes = rates("apisix_http_status", Some("code"));
                merged(codes, |code| match code.as_bytes()[0] {
                    b'2' => Some("2xx"),
                    b'4' => Some("4xx"),
                    _ => Some("5xx"),
                })
            }
            MetricType::ApiLatency => {
                let counts = rates("apisix_http_latency_count", Some("type"));
                let mut sums = rates("apisix_http_latency_sum", Some("type"));
                sums.retain(|key, _| counts.get(key).is_some_and(|count| *count > 0.0));
                sums.iter_mut().for_each(|(key, sum)| *sum /= counts[key]);
                sums
            }
            MetricType::ApiBandwidth => rates("apisix_bandwidth", Some("type")),
            MetricType::ApiConnections => {
                let question = Question { app: None, api: None, ..*question };
                let family = "apisix_nginx_http_current_connections";
                self.sum(&question, family, Some("state"), |samples, end| {
                    let inside = |(time, _): &&(f64, f64)| end - window < *time && *time <= end;
                    samples.iter().rfind(inside).map(|(_, value)| *value)
                })
            }
        }
    }

    /// Sums `value` over the series of a family, by label.
    fn sum(
        &self,
        question: &Question,
        family: &str,
        label: Option<&'static str>,
        value: impl Fn(&Samples, f64) -> Option<f64>,
    ) -> Answers {
        let mut sums = Answers::new();
        for (instance, (name, labels), samples) in &self.0 {
            let is_of = |label: &str, wanted: Option<i64>| {
                wanted.is_none_or(|id| labels.get(label) == Some(&id.to_string()))
            };
            let wanted = *name == family
                && is_of("service", question.app)
                && is_of("route", question.api)
                && question.instance.is_none_or(|wanted| wanted == *instance);
            if !wanted {
                continue;
            }
            let group = label.map(|label| labels[label].clone()).unwrap_or_default();
            let mut time = question.start;
            while time <= question.end {
                if let Some(value) = value(samples, seconds(time)) {
                    *sums.entry((group.clone(), time)).or_default() += value;
                }
                time += question.step;
            }
        }
        sums
    }
}

/// Sums answers whose labels are told to be the same.
fn merged(answers: Answers, label: impl Fn(&str) -> Option<&'static str>) -> Answers {
    let mut sums = Answers::new();
    for ((old, time), value) in answers {
        if let Some(label) = label(&old) {
            *sums.entry((label.to_owned(), time)).or_default() += value;
        }
    }
    sums
}

/// `rate` of PromQL, step by step.
fn rate(samples: &Samples, start: f64, end: f64) -> Option<f64> {
    let inside: Samples =
        samples.iter().copied().filter(|(time, _)| start < *time && *time <= end).collect();
    if inside.len() < 2 {
        return None;
    }
    let mut grown = 0.0;
    for pair in inside.windows(2) {
        let is_reset = pair[1].1 < pair[0].1;
        grown += if is_reset { pair[1].1 } else { pair[1].1 - pair[0].1 };
    }
    let (first, last) = (inside[0], inside[inside.len() - 1]);
    let covered = last.0 - first.0;
    let usual = covered / f64::from(u32::try_from(inside.len() - 1).unwrap());
    let mut before = first.0 - start;
    if before >= usual * 1.1 {
        before = usual / 2.0;
    }
    if grown > 0.0 {
        before = before.min(covered * first.1 / grown);
    }
    let mut after = end - last.0;
    if after >= usual * 1.1 {
        after = usual / 2.0;
    }
    Some(grown * (covered + before + after) / covered / (end - start))
}

fn seconds(seconds: i64) -> f64 {
    f64::from(i32::try_from(seconds).unwrap())
}
