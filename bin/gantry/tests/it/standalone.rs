//! A gateway without control plane and etcd: settings and configuration come from files.

use std::path::Path;

use gantry_testkit::{Origin, Process, client};
use serde_json::Value;

use crate::harness::{BINARY, eventually, run};

const ANYWHERE: &str = "listen_http: 127.0.0.1:0\nlisten_https: 127.0.0.1:0\n\
                        listen_status: 127.0.0.1:0\nthreads: 1\n";

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file as a whole, as deployments do.
    fn write(&self, name: &str, text: &str) {
        let fresh = self.path("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.path(name)).unwrap();
    }

    /// Writes the gateway's settings, with these beside the usual ones.
    fn settings(&self, more: &str) {
        self.write("gantry.yaml", &format!("{ANYWHERE}data: {}\n{more}", self.path("data")));
    }

    async fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let config = self.path("gantry.yaml");
        let arguments = [&["gateway", "--config", &config][..], arguments].concat();
        Process::start_with(BINARY, &arguments, environment, self.folder.path()).await
    }
}

fn routes(path: &str, origin: &Origin) -> String {
    let node = origin.address;
    format!(
        "routes:\n  - id: 1\n    uri: {path}\n    upstream_id: 5\nupstreams:\n  - id: 5\n    \
         nodes:\n      \"{node}\": 1\n#END\n"
    )
}

async fn status(gateway: &Process) -> Value {
    let url = format!("{}/status", gateway.address("status"));
    client().get(url).send().await.unwrap().json().await.unwrap()
}

async fn get(gateway: &Process, path: &str) -> u16 {
    let url = format!("{}{path}", gateway.address("http"));
    client().get(url).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_file_is_the_configuration_and_a_broken_one_changes_nothing() {
    let (origin, files) = (Origin::start("one").await, Files::new());
    files.write("apisix.yaml", &routes("/a", &origin));
    files.settings(&format!("standalone: {}\n", files.path("apisix.yaml")));
    let gateway = files.start(&[], &[]).await;
    eventually("the file is in force", || async { status(&gateway).await["ready"] == true }).await;
    assert_eq!((get(&gateway, "/a").await, get(&gateway, "/b").await), (200, 404));
    files.write("apisix.yaml", "routes:\n  - uri: /b\n");
    eventually("the broken file is reported", || async {
        let problem = status(&gateway).await["source_problem"].to_string();
        problem.contains("does not end with the line `#END`")
    })
    .await;
    assert_eq!(status(&gateway).await["source_reachable"], false);
    assert_eq!((get(&gateway, "/a").await, get(&gateway, "/b").await), (200, 404));
    files.write("apisix.yaml", &routes("/b", &origin));
    eventually("the new file is in force", || async { get(&gateway, "/b").await == 200 }).await;
    assert_eq!(get(&gateway, "/a").await, 404);
    let now = status(&gateway).await;
    assert_eq!((&now["source_problem"], &now["source_reachable"]), (&Value::Null, &true.into()));
    // What was good last is found on disk, should the file be broken at the next start.
    eventually("it is on disk", || async {
        let now = status(&gateway).await;
        now["cached_revision"] == now["revision"]
    })
    .await;
    gateway.kill().await;
    files.write("apisix.yaml", "routes: {");
    let gateway = files.start(&[], &[]).await;
    assert_eq!(get(&gateway, "/b").await, 200);
}

#[tokio::test]
async fn flags_stand_above_the_environment_and_that_above_the_file() {
    let (origin, files) = (Origin::start("one").await, Files::new());
    for (name, path) in [("file.yaml", "/file"), ("env.yaml", "/env"), ("flag.yaml", "/flag")] {
        files.write(name, &routes(path, &origin));
    }
    files.settings(&format!("standalone: {}\nlog: warn\n", files.path("file.yaml")));
    let (env, flag) = (files.path("env.yaml"), files.path("flag.yaml"));
    let environment = [("GANTRY_STANDALONE", &*env)];
    for (arguments, environment, path) in [
        (vec![], &[][..], "/file"),
        (vec![], &environment[..], "/env"),
        (vec!["--standalone", &flag], &environment[..], "/flag"),
    ] {
        let gateway = files.start(&arguments, environment).await;
        let what = format!("{path} is in force");
        eventually(&what, || async { get(&gateway, path).await == 200 }).await;
        gateway.kill().await;
    }
}

/// What the binary says about a file of settings that it does not take.
fn refusal(files: &Files, settings: &str) -> String {
    files.write("gantry.yaml", settings);
    let output = run(&["gateway", "--config", &files.path("gantry.yaml")]);
    assert!(!output.status.success(), "{settings}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let files = Files::new();
    for (settings, reason) in [
        ("listen_htp: 127.0.0.1:0\n", "there is no setting `listen_htp`"),
        ("config: other.yaml\n", "there is no setting `config`"),
        ("listen_http: nowhere\n", "invalid value 'nowhere' for '--listen-http"),
        ("etcd: {a: b}\n", "`etcd` must be a text or a list"),
        ("a: [\n", "gantry.yaml: "),
        ("threads: 1\n", "give one of --control-plane, --etcd and --standalone"),
        (
            "etcd: [http://127.0.0.1:1]\nstandalone: a.yaml\n",
            "give one of --control-plane, --etcd and --standalone",
        ),
        (
            "etcd: [http://127.0.0.1:1, http://127.0.0.1:2]\ntls_cert: a.pem\n",
            "--tls-cert and --tls-key belong together",
        ),
    ] {
        let said = refusal(&files, settings);
        assert!(said.contains(reason), "{said}");
    }
    let missing = run(&["gateway", "--config", &files.path("missing.yaml")]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("missing.yaml: "));
}

#[tokio::test]
async fn a_hangup_does_not_end_the_gateway_and_the_access_log_begins_anew() {
    let (origin, files) = (Origin::start("one").await, Files::new());
    files.write("apisix.yaml", &routes("/a", &origin));
    let log = files.path("access.log");
    files.settings(&format!("standalone: {}\naccess_log: {log}\n", files.path("apisix.yaml")));
    let gateway = files.start(&[], &[]).await;
    eventually("the file is in force", || async { get(&gateway, "/a").await == 200 }).await;
    let lines = |path: String| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
    eventually("a line is written", || async { lines(log.clone()) > 0 }).await;
    std::fs::rename(&log, Path::new(&files.path("old.log"))).unwrap();
    let id = gateway.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    assert_eq!(get(&gateway, "/a").await, 200);
    eventually("a line is in the new file", || async { lines(log.clone()) > 0 }).await;
}

#[tokio::test]
async fn a_gateway_may_open_as_many_files_as_the_system_allows() {
    let (origin, files) = (Origin::start("one").await, Files::new());
    files.write("apisix.yaml", &routes("/a", &origin));
    files.settings(&format!("standalone: {}\n", files.path("apisix.yaml")));
    let config = files.path("gantry.yaml");
    let few = "ulimit -Sn 100 && ulimit -Hn 900 && exec \"$0\" gateway --config \"$1\"";
    let arguments = ["-c", few, BINARY, &config];
    let gateway = Process::start("sh", &arguments, files.folder.path()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["900", "900"]);
}
