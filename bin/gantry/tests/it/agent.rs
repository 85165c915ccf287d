//! The agent for stock APISIX, as it is served, against a real server. APISIX and what it runs on
//! are stand-ins (`agent/tests`), run by a plain Lua.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use gantry_testkit::{Database, client};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Installation, api, eventually, text};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../agent/tests");

/// What the plugin prometheus would answer.
const METRICS: &str = "# TYPE apisix_nginx_http_current_connections gauge\n\
    apisix_nginx_http_current_connections{state=\"active\"} 5\n\
    apisix_secret_of_another_family 7\n";

/// An APISIX that consists of the agent.
struct Apisix {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// The folder of an APISIX with the agent unpacked, its certificate and its settings.
struct Home(PathBuf);

impl Home {
    async fn make(gantry: &Installation, version: &str) -> Self {
        let home = gantry.folder.path().join(version);
        std::fs::create_dir_all(home.join("conf")).unwrap();
        let path = gantry.cluster_path("/gateway_certificate");
        let bundle = gantry.call(Method::GET, &path, None).await;
        for (file, field) in
            [("tls.crt", "certificate"), ("tls.key", "private_key"), ("ca.crt", "ca_certificate")]
        {
            std::fs::write(home.join(file), text(&bundle[field])).unwrap();
        }
        let archive = client().get(gantry.url("").replace("/api/v1", "/agent/apisix.tar.gz"));
        let archive = archive.send().await.unwrap();
        assert_eq!(archive.status(), 200);
        std::fs::write(home.join("agent.tar.gz"), archive.bytes().await.unwrap()).unwrap();
        let unpacked =
            Command::new("tar").args(["-xzf", "agent.tar.gz"]).current_dir(&home).status().unwrap();
        assert!(unpacked.success());
        Self(home)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn modules(&self) -> String {
        self.path("gantry-apisix-agent")
    }

    /// What `apisix.core.config_local` would answer: the start-up configuration of the cluster.
    async fn configure(&self, gantry: &Installation, version: &str, prometheus: u16) {
        let path = gantry.cluster_path("/startup_config_tpl/apisix");
        let template = gantry.call(Method::GET, &path, None).await;
        let template = text(&template["configuration"]);
        assert!(template.contains("/agent/apisix.tar.gz"), "{template}");
        let yaml = template
            .replace("{{.TLSDir}}", &self.path(""))
            .replace("{{.CloudModuleDir}}", &self.modules());
        let mut conf: Value = serde_norway::from_str(&yaml).unwrap();
        assert_eq!(conf["apisix"]["lua_module_hook"], "cloud");
        assert_eq!(conf["apisix"]["extra_lua_path"], format!("{}/?.ljbc;", self.modules()));
        assert!(conf["nginx_config"]["http"]["custom_lua_shared_dict"]["cloud"].is_string());
        // What APISIX does with it.
        conf["etcd"] = conf["deployment"]["etcd"].clone();
        let newer = json!([{ "port": 9080 }]);
        conf["apisix"]["node_listen"] = if version.starts_with('2') { json!(9080) } else { newer };
        conf["apisix"]["ssl"]["listen"] = json!([{ "port": 9443 }]);
        conf["plugin_attr"]["prometheus"]["export_addr"] =
            json!({ "ip": "127.0.0.1", "port": prometheus });
        let endpoint = gantry.server.as_ref().unwrap().address("dp");
        let settings = json!({
            "conf": conf, "version": version, "id": format!("uid-{version}"),
            "home": self.path(""), "modules": self.modules(), "endpoint": endpoint,
            "cert": self.path("tls.crt"), "key": self.path("tls.key"), "ca": self.path("ca.crt"),
        });
        std::fs::write(self.0.join("settings.lua"), format!("return {}", lua(&settings))).unwrap();
    }

    fn start(&self) -> Apisix {
        Apisix::start(Path::new(TESTS), &self.path("settings.lua"))
    }
}

/// A value as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("[{key:?}]={}", lua(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
        Value::Null => "nil".to_owned(),
        other => other.to_string(),
    }
}

impl Apisix {
    fn start(tests: &Path, settings: &str) -> Self {
        let mut child = Command::new("lua5.1")
            .args(["openresty.lua", settings])
            .current_dir(tests)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("lua5.1 is installed");
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// The value of an expression.
    fn eval(&mut self, expression: &str) -> String {
        writeln!(self.input, "{expression}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "Lua ended at {expression}");
        line.trim_end().to_owned()
    }

    fn run(&mut self, expression: &str) {
        let value = self.eval(expression);
        assert!(!value.starts_with("error"), "{expression}: {value}");
    }
}

impl Drop for Apisix {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A watch of APISIX, from another address than the one its host's name stands for.
struct Watch(Child);

impl Watch {
    fn open(gantry: &Installation, home: &Home) -> Self {
        let url = format!("{}/v3/watch", gantry.server.as_ref().unwrap().address("dp"));
        let wanted = json!({ "create_request": { "key": "Lw==", "range_end": "MA==" } });
        let files = [("--cert", "tls.crt"), ("--key", "tls.key"), ("--cacert", "ca.crt")];
        let files = files.map(|(option, file)| [option.to_owned(), home.path(file)]);
        let child = Command::new("curl")
            .args(["-sSN", "-d", &wanted.to_string(), &url])
            .args(files.as_flattened())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("curl is installed"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// There is one, though it is connected too.
async fn instance(gantry: &Installation) -> Value {
    let list = gantry.call(Method::GET, &gantry.cluster_path("/instances"), None).await;
    assert_eq!(list["count"], 1, "{list}");
    list["list"][0].clone()
}

async fn state(gantry: &Installation, revision: i64) -> String {
    let path = gantry.cluster_path(&format!("/revisions/{revision}/receipts"));
    text(&gantry.call(Method::GET, &path, None).await["list"][0]["state"])
}

/// A place that answers metrics as APISIX does; its port.
async fn prometheus() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router =
        Router::new().route("/apisix/prometheus/metrics", get(|| async { METRICS.to_owned() }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn apisix_2_15_lives_with_the_agent() {
    life("2.15.3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apisix_3_lives_with_the_agent() {
    life("3.9.1").await;
}

async fn life(version: &str) {
    let mut gantry = Installation::start(Database::Sqlite).await;
    let shop = gantry.application("shop", "/shop", ([127, 0, 0, 1], 1).into()).await;
    let home = Home::make(&gantry, version).await;
    home.configure(&gantry, version, prometheus().await).await;
    let _watch = Watch::open(&gantry, &home);
    eventually("the watch is noticed", || async {
        let list = gantry.call(Method::GET, &gantry.cluster_path("/instances"), None).await;
        list["list"][0]["source"] == "connection"
    })
    .await;
    let mut apisix = home.start();
    let before = gantry.revision().await;
    let loaded = apisix.eval("start('privileged agent')");
    assert!(loaded.starts_with(&format!("{before} ")), "{loaded}");
    for _ in 0..3 {
        apisix.run("require('apisix').http_log_phase()");
    }
    apisix.run("tick()");
    assert_eq!(apisix.eval("#logged"), "0", "{}", apisix.eval("logged"));

    let seen = instance(&gantry).await;
    assert_eq!(seen["id"], format!("uid-{version}"));
    assert_eq!(seen["version"], format!("APISIX/{version}"));
    assert_eq!((&seen["hostname"], &seen["ip"]), (&json!("edge-1"), &json!("10.0.0.7")));
    assert_eq!((&seen["ports"], &seen["api_calls"]), (&json!([9080, 9443]), &json!(3)));
    assert_eq!((&seen["status"], &seen["source"]), (&json!("Healthy"), &json!("report")));
    assert_eq!(seen["config_version"], before);

    // A revision is acknowledged at once, long before the next heartbeat is due.
    gantry.api(&shop, api("list", "/list")).await;
    let revision = gantry.revision().await;
    assert_eq!(state(&gantry, revision).await, "behind");
    apisix.run(&format!("rawset(objects['/routes'], 'prev_index', {revision})"));
    apisix.run("tick(1)");
    assert_eq!(state(&gantry, revision).await, "applied");
    let again = instance(&gantry).await;
    assert_eq!((&again["api_calls"], &again["run_id"]), (&json!(3), &seen["run_id"]));

    metrics_arrive(&gantry, &mut apisix).await;
    what_differs_is_read_again(&gantry, &mut apisix, revision).await;

    a_full_disk_costs_the_file_nothing(&home, &mut apisix);

    // Without the control plane nothing but the log tells; the next start is from the disk.
    gantry.kill_server().await;
    apisix.run("tick(30)");
    assert!(apisix.eval("logged").contains("a heartbeat did not arrive"));
    let mut restarted = home.start();
    let loaded = restarted.eval("start('privileged agent')");
    assert!(loaded.starts_with(&format!("{revision} ")), "{loaded}");
    assert!(restarted.eval("logged").contains("starting with the configuration in"));
    gantry.start_server().await;
    restarted.run("tick()");
    let back = instance(&gantry).await;
    assert_eq!(
        (&back["config_version"], back["run_id"] == seen["run_id"]),
        (&json!(revision), false)
    );
}

async fn metrics_arrive(gantry: &Installation, apisix: &mut Apisix) {
    apisix.run("tick(15)");
    assert_eq!(apisix.eval("#logged"), "0", "{}", apisix.eval("logged"));
    eventually("the active connections are charted", || async {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let time = |time: Duration| {
            let seconds = i64::try_from(time.as_secs()).unwrap();
            gantry_model::Timestamp::from_seconds(seconds).to_string()
        };
        let (start, end) =
            (time(now - Duration::from_secs(59)), time(now + Duration::from_secs(1)));
        let path = format!("/metrics/api-connections?start={start}&end={end}&step=60");
        let found = gantry.call(Method::GET, &gantry.cluster_path(&path), None).await;
        let series = found["result"].as_array().unwrap();
        series.iter().any(|one| {
            one["metric"]["state"] == "active"
                && one["values"].as_array().unwrap().iter().any(|pair| pair[1] == "5")
        })
    })
    .await;
}

/// A revision that the cluster does not have is wrong for certain.
async fn what_differs_is_read_again(gantry: &Installation, apisix: &mut Apisix, revision: i64) {
    apisix.run(&format!("rawset(objects['/routes'], 'prev_index', {})", revision + 5));
    apisix.run("tick(1)");
    assert_eq!(state(gantry, revision).await, "differs");
    apisix.run("tick(1)");
    assert_eq!(apisix.eval("objects['/routes'].need_reload"), "true");
    apisix.run(&format!("rawset(objects['/routes'], 'prev_index', {revision})"));
    apisix.run("tick(1)");
    assert_eq!(state(gantry, revision).await, "applied");
}

fn a_full_disk_costs_the_file_nothing(home: &Home, apisix: &mut Apisix) {
    let kept = home.0.join("conf/apisix.data");
    let before = std::fs::read(&kept).unwrap();
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds secrets");
    std::os::unix::fs::symlink("/dev/full", home.0.join("conf/apisix.data.new")).unwrap();
    assert_eq!(apisix.eval("require('cloud.file').save('{}')"), "nil");
    assert_eq!(std::fs::read(&kept).unwrap(), before);
    assert!(!home.0.join("conf/apisix.data.new").is_symlink(), "the next one finds room");
}

#[tokio::test]
async fn the_archive_has_what_deployments_expect() {
    let gantry = Installation::start(Database::Sqlite).await;
    let home = Home::make(&gantry, "files").await;
    let listed = Command::new("tar").args(["-tzf", &home.path("agent.tar.gz")]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: Vec<&str> = listed.lines().collect();
    // The public tool takes the first folder for the module's.
    assert_eq!(names[0], "gantry-apisix-agent/");
    for (index, name) in names.iter().enumerate().skip(1) {
        let (folder, _) = name.trim_end_matches('/').rsplit_once('/').unwrap();
        let known = names[..index].iter().any(|before| *before == format!("{folder}/"));
        assert!(known, "{name} comes before its folder");
    }
    let module = "gantry-apisix-agent";
    for file in [
        "cloud",
        "cloud/agent",
        "cloud/metrics",
        "cloud/utils",
        "cloud/file",
        "apisix/cli/etcd",
        "apisix/cli/local_storage",
        "apisix/core/config_etcd",
    ] {
        assert!(names.contains(&&*format!("{module}/{file}.ljbc")), "{file}");
    }
    // APISIX's own module is found behind the one of the same name.
    let folder = home.0.join("own/apisix/core");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config_etcd.lua"), "return { own = ... }").unwrap();
    let path = format!("{}/?.ljbc;{}/?.lua", home.modules(), home.path("own"));
    let script = format!(
        "package.path = '{path}'; print(require('apisix.core.config_etcd').own);\
         print(require('apisix.cli.etcd').init({{ apisix_home = '/nowhere' }}))"
    );
    let output = Command::new("lua5.1").args(["-e", &script]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.starts_with("apisix.core.config_etcd\n"), "{printed} {output:?}");
    assert!(printed.ends_with("true\n"), "{printed}");
}
