//! `gantry dev`: what it prints works as printed, and a second start keeps everything.

use std::process::Command;

use gantry_testkit::Process;
use serde_json::Value;

use crate::harness::BINARY;

const LISTENERS: [&str; 7] = [
    "--listen-api",
    "--listen-metrics",
    "--listen-dp",
    "--listen-http",
    "--listen-https",
    "--listen-status",
    "--listen-sample",
];

#[tokio::test]
async fn the_printed_lines_work_and_a_second_start_keeps_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let mut arguments = vec!["dev", "--data", &data];
    for listener in LISTENERS {
        arguments.extend([listener, "127.0.0.1:0"]);
    }
    let first = Process::start(BINARY, &arguments, folder.path()).await;
    let lines = curl_lines(&first);
    assert_eq!(statuses(&lines), [200, 401, 200], "{:#?}", first.printed);
    let printed = first.printed.join("\n");
    assert!(printed.contains("password"), "a one-time password: {printed}");
    let token = word_after(&first, "access token");
    let status = first.stop().await;
    assert!(status.success(), "stops cleanly: {status}");

    let second = Process::start(BINARY, &arguments, folder.path()).await;
    assert_eq!(calls(second.address("api"), &token).await, 3, "the gateway's last word was heard");
    let again: Vec<String> = curl_lines(&second);
    assert_eq!(statuses(&again), [200, 401, 200], "{:#?}", second.printed);
    assert!(!second.printed.join("\n").contains("one-time password"), "printed once only");
    assert!(second.stop().await.success());
}

fn word_after(process: &Process, label: &str) -> String {
    let line = process.printed.iter().find_map(|line| line.trim().strip_prefix(label));
    line.unwrap_or_default().trim().to_owned()
}

/// Requests that all gateways have told of.
async fn calls(api: &str, token: &str) -> u64 {
    let get = async |path: String| -> Value {
        let request = gantry_testkit::client().get(format!("{api}/api/v1{path}"));
        request.bearer_auth(token).send().await.unwrap().json().await.unwrap()
    };
    let me = get("/user/me".into()).await;
    let org = me["payload"]["org_ids"][0].as_str().unwrap();
    let clusters = get(format!("/orgs/{org}/clusters")).await;
    let cluster = clusters["payload"]["list"][0]["id"].as_str().unwrap();
    let instances = get(format!("/clusters/{cluster}/instances")).await;
    let list = instances["payload"]["list"].as_array().unwrap();
    list.iter().filter_map(|instance| instance["api_calls"].as_u64()).sum()
}

fn curl_lines(process: &Process) -> Vec<String> {
    let lines: Vec<String> = process
        .printed
        .iter()
        .filter_map(|line| line.find("curl ").map(|start| line[start..].to_owned()))
        .collect();
    assert_eq!(lines.len(), 3, "{:#?}", process.printed);
    lines
}

/// Runs the lines as a person would paste them, asking curl for the status besides.
fn statuses(lines: &[String]) -> Vec<u16> {
    lines
        .iter()
        .map(|line| {
            let line = line.replacen("curl ", "curl -s -o /dev/null -w '%{http_code}' ", 1);
            let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
            String::from_utf8(output.stdout).unwrap().trim_matches('\'').parse().unwrap_or_default()
        })
        .collect()
}
