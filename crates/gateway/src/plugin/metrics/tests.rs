//! Requests counted, and what Prometheus reads of them.

use std::{
    net::IpAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Hidden, IDLE, Labels, Metrics, SERIES_MAX, Sample, SeriesOptions, lock};

fn sample<'a>(route: &'a str, matched_uri: &'a str, consumer: &'a str) -> Sample<'a> {
    let node = Some(IpAddr::from([127, 0, 0, 1]));
    Sample {
        labels: Labels { route, consumer, node, ..Labels::default() },
        matched_uri,
        matched_host: "",
        began: Instant::now(),
        status: 200,
        source: "upstream",
        total_ms: 7.5,
        upstream_ms: Some(5.0),
        ingress: 100,
        egress: 200,
    }
}

fn text(metrics: &Metrics) -> String {
    let mut out = String::new();
    metrics.render(&mut out, &mut |_| {});
    out
}

#[test]
fn requests_are_counted_under_apisix_names() {
    let metrics = Metrics::default();
    metrics.record(&sample("r\"1", "/a/*", "jack"));
    metrics.record(&sample("r\"1", "/a/*", "jack"));
    let text = text(&metrics);
    let tail = "node=\"127.0.0.1\",request_type=\"traditional_http\",request_llm_model=\"\",llm_model=\"\"";
    for line in [
        format!(
            "apisix_http_status{{code=\"200\",route=\"r\\\"1\",matched_uri=\"/a/*\",matched_host=\"\",service=\"\",consumer=\"jack\",{tail},response_source=\"upstream\"}} 2"
        ),
        format!(
            "apisix_bandwidth{{type=\"egress\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail}}} 400"
        ),
        format!(
            "apisix_http_latency_bucket{{type=\"request\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail},le=\"5\"}} 0"
        ),
        format!(
            "apisix_http_latency_bucket{{type=\"upstream\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail},le=\"5\"}} 2"
        ),
        format!(
            "apisix_http_latency_sum{{type=\"apisix\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail}}} 5"
        ),
        "# TYPE apisix_http_latency histogram".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn a_report_leaves_out_buckets_first() {
    let metrics = Metrics::default();
    metrics.record(&sample("1", "/a", ""));
    let mut whole = String::new();
    assert!(!metrics.report(&mut whole, 1_000_000));
    let names: Vec<&str> = whole.lines().filter_map(|line| line.split('{').next()).collect();
    assert_eq!((names.len(), names.first()), (1 + 2 + 6 + 48, Some(&"apisix_http_status")));
    let mut part = String::new();
    assert!(metrics.report(&mut part, whole.len() / 2));
    assert!(part.len() <= whole.len() / 2 && whole.starts_with(&part) && part.ends_with('\n'));
    assert_eq!(part.matches("apisix_http_latency_sum").count(), 3);
    let mut nothing = "x\n".to_owned();
    assert!(metrics.report(&mut nothing, 2));
    assert_eq!(nothing, "x\n");
}

#[test]
fn a_report_cuts_off_the_same_series_every_time() {
    let metrics = Metrics::default();
    for number in (0..500).rev() {
        metrics.record(&sample("1", "/a", &format!("consumer-{number:03}")));
    }
    let report = |room: usize| {
        let mut out = String::new();
        (metrics.report(&mut out, room), out)
    };
    let (is_cut, whole) = report(usize::MAX);
    let statuses = whole.lines().filter(|line| line.starts_with("apisix_http_status{"));
    let consumers: Vec<&str> =
        statuses.filter_map(|line| line.split("consumer=\"").nth(1)?.get(..12)).collect();
    assert!(!is_cut && consumers.len() == 500 && consumers.is_sorted(), "{consumers:?}");
    let (_, part) = report(50_000);
    for number in 500..700 {
        metrics.record(&sample("1", "/a", &format!("consumer-{number}")));
    }
    assert_eq!(report(50_000), (true, part));
}

#[test]
fn patterns_of_one_route_share_their_traffic() {
    let metrics = Metrics::default();
    metrics.record(&sample("1", "/a", ""));
    metrics.record(&sample("1", "/b", ""));
    let text = text(&metrics);
    assert_eq!(text.matches("apisix_http_status{").count(), 2);
    assert_eq!(text.matches("apisix_bandwidth{").count(), 2);
}

#[test]
fn consumers_beyond_the_limit_share_one_series() {
    let metrics = Metrics::default();
    for number in 0..SERIES_MAX + 5_000 {
        metrics.record(&sample("1", "/a", &number.to_string()));
    }
    let held: usize = metrics.shards.iter().map(|shard| lock(shard).series.len()).sum();
    assert!(held <= SERIES_MAX + 1, "{held}");
    assert!(metrics.folded.load(Ordering::Relaxed) >= 5_000);
}

#[test]
fn hidden_labels_have_no_values_and_are_summed() {
    let metrics = Metrics::default();
    metrics.record(&sample("1", "/a", "jack"));
    metrics.record(&sample("1", "/a", "jill"));
    let hidden = r#"{"http_status": ["consumer", "node", "request_type", "response_source"],
        "http_latency": ["consumer", "route"]}"#;
    metrics.hide(serde_json::from_str::<Hidden>(hidden).unwrap());
    let text = text(&metrics);
    let models = "request_llm_model=\"\",llm_model=\"\"";
    for line in [
        format!(
            "apisix_http_status{{code=\"200\",route=\"1\",matched_uri=\"/a\",matched_host=\"\",service=\"\",consumer=\"\",node=\"\",request_type=\"\",{models},response_source=\"\"}} 2"
        ),
        format!(
            "apisix_http_latency_count{{type=\"request\",route=\"\",service=\"\",consumer=\"\",node=\"127.0.0.1\",request_type=\"traditional_http\",{models}}} 2"
        ),
        format!(
            "apisix_bandwidth{{type=\"ingress\",route=\"1\",service=\"\",consumer=\"jill\",node=\"127.0.0.1\",request_type=\"traditional_http\",{models}}} 100"
        ),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    let mut report = String::new();
    metrics.report(&mut report, 1_000_000);
    assert!(report.contains("consumer=\"jack\""), "a control plane sees everything");
}

#[test]
fn idle_series_make_room_for_others() {
    let metrics = Metrics::default();
    for number in 0..SERIES_MAX + 5_000 {
        metrics.record(&sample("1", "/a", &number.to_string()));
    }
    let folded = metrics.folded.load(Ordering::Relaxed);
    // Nothing is dropped that was busy a moment ago.
    let soon = Sample { began: Instant::now() + IDLE / 2, ..sample("2", "/a", "new") };
    metrics.record(&soon);
    let later = Instant::now() + IDLE + Duration::from_secs(60);
    for number in 0..100 {
        let consumer = format!("later-{number}");
        metrics.record(&Sample { began: later, ..sample("1", "/a", &consumer) });
    }
    assert!(metrics.folded.load(Ordering::Relaxed) <= folded + 1);
    assert!(text(&metrics).contains("consumer=\"later-99\""));
}

#[test]
fn buckets_and_labels_are_those_asked_for() {
    let extra_labels = vec![("region".to_owned(), "http_x_region".to_owned())];
    let options =
        SeriesOptions { buckets: vec![6.0, 8.0], extra_labels, ..SeriesOptions::default() };
    options.check().unwrap();
    let metrics = Metrics::new(options);
    assert_eq!(metrics.extra_variables().collect::<Vec<_>>(), ["http_x_region"]);
    for region in ["north", "south\""] {
        let extra = [region.to_owned()];
        let mut sample = sample("1", "/a", "");
        sample.labels.extra = &extra;
        metrics.record(&sample);
    }
    let text = text(&metrics);
    let buckets: Vec<&str> =
        text.lines().filter(|line| line.contains("_bucket{type=\"request\"")).collect();
    assert_eq!(buckets.len(), 6, "{text}");
    for (line, end) in
        buckets.iter().zip(["le=\"6\"} 0", "le=\"8\"} 1", "le=\"+Inf\"} 1"].iter().cycle())
    {
        assert!(line.ends_with(end), "{line}");
    }
    assert!(buckets[0].contains("region=\"north\""), "{buckets:?}");
    assert!(text.contains("response_source=\"upstream\",region=\"south\\\"\"} 1"), "{text}");
    let mut report = String::new();
    metrics.report(&mut report, 1_000_000);
    assert_eq!(report.matches("apisix_bandwidth{type=\"egress\"").count(), 2);
}

#[test]
fn labels_that_were_left_out_and_empty_ones_are_the_same() {
    let extra_labels = vec![("region".to_owned(), "http_x_region".to_owned())];
    let metrics = Metrics::new(SeriesOptions { extra_labels, ..SeriesOptions::default() });
    let empty = [String::new()];
    let mut sample = sample("1", "/a", "");
    metrics.record(&sample);
    sample.labels.extra = &empty;
    metrics.record(&sample);
    let text = text(&metrics);
    assert_eq!(text.matches("apisix_http_status{").count(), 1, "{text}");
    assert!(text.contains("region=\"\"} 2"), "{text}");
}

#[test]
fn idle_series_are_forgotten_when_that_is_wanted() {
    let expiry = Some(Duration::from_nanos(1));
    let metrics = Metrics::new(SeriesOptions { expiry, ..SeriesOptions::default() });
    let later = Instant::now() + IDLE;
    metrics.record(&sample("1", "/a", "old"));
    metrics.record(&Sample { began: later, ..sample("1", "/a", "new") });
    let text = text(&metrics);
    assert!(text.contains("consumer=\"new\"") && !text.contains("consumer=\"old\""), "{text}");
}

#[test]
fn a_family_that_is_too_long_loses_labels_and_no_request() {
    let lines_max = Some(1000);
    let metrics = Metrics::new(SeriesOptions { lines_max, ..SeriesOptions::default() });
    for number in 0..600 {
        let (route, consumer) = (format!("{}", number % 300), format!("consumer-{number}"));
        let mut sample = sample(&route, "/a", &consumer);
        sample.labels.service = if number % 2 == 0 { "even" } else { "odd" };
        metrics.record(&sample);
    }
    let text = text(&metrics);
    let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    // 600 lines of statuses fit; 1,200 of bandwidth do only without consumers; 600 x 54 of latencies not
    // even without routes, but for the two services.
    assert_eq!(lines("apisix_http_status{"), 600);
    assert_eq!(lines("apisix_bandwidth{"), 600);
    assert_eq!(lines("apisix_http_latency_count{"), 6);
    let tail = "request_type=\"traditional_http\",request_llm_model=\"\",llm_model=\"\"";
    for line in [
        format!("apisix_bandwidth{{type=\"egress\",route=\"7\",service=\"odd\",consumer=\"\",node=\"\",{tail}}} 400"),
        format!("apisix_http_latency_count{{type=\"request\",route=\"\",service=\"even\",consumer=\"\",node=\"\",{tail}}} 300"),
        "# HELP apisix_http_latency HTTP latency in milliseconds; too many lines: summed over routes, consumers and nodes".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn what_is_told_apart_for_statuses_only_is_forgotten_together() {
    let expiry = Some(Duration::from_nanos(1));
    let metrics = Metrics::new(SeriesOptions { expiry, ..SeriesOptions::default() });
    let later = Instant::now() + IDLE;
    metrics.record(&sample("1", "/old", ""));
    metrics.record(&Sample { began: later, ..sample("1", "/new", "") });
    let text = text(&metrics);
    assert!(text.contains("matched_uri=\"/old\""), "{text}");
    let egress = text.lines().find(|line| line.starts_with("apisix_bandwidth{type=\"egress\""));
    assert!(egress.is_some_and(|line| line.ends_with(" 400")), "a counter never falls: {text}");
}

#[test]
fn options_that_cannot_be_are_refused() {
    let label = |name: &str| (name.to_owned(), "host".to_owned());
    for (buckets, extra_labels) in [
        (vec![5.0, 5.0], vec![]),
        (vec![-1.0], vec![]),
        (vec![f64::NAN], vec![]),
        (vec![1.0; 65], vec![]),
        (vec![], vec![label("route")]),
        (vec![], vec![label("a"), label("a")]),
        (vec![], vec![label("1a")]),
        (vec![], (0..9).map(|number| label(&format!("l{number}"))).collect()),
    ] {
        let options = SeriesOptions { buckets, extra_labels, ..SeriesOptions::default() };
        assert!(options.check().is_err(), "{options:?}");
    }
    let options = SeriesOptions { lines_max: Some(999), ..SeriesOptions::default() };
    assert!(options.check().is_err());
}
