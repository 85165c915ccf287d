use serde_json::json;

use super::{catalog::Catalog, registry::Namespaces, *};

fn slice(name: &str, service: &str, hosts: &Value, ports: &Value) -> catalog::Object {
    let endpoints: Vec<Value> =
        hosts.as_array().unwrap().iter().map(|host| json!({"addresses": [host]})).collect();
    let labels = json!({"kubernetes.io/service-name": service});
    let document = json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1", "labels": labels},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    serde_json::from_value(document).unwrap()
}

fn hosts(catalog: &Catalog, service: &str, port: &str) -> Vec<String> {
    let found = catalog.find(service, port, 50);
    found.iter().map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).collect()
}

#[test]
fn slices_of_a_service_are_joined_and_leave_one_by_one() {
    let http = json!([{"name": "http", "port": 8080}, {"name": "admin", "port": 9}]);
    let mut catalog = Catalog::default();
    catalog.put(slice("a", "orders", &json!(["10.0.0.1"]), &http));
    let touched = catalog.put(slice("b", "orders", &json!(["10.0.0.2", "10.0.0.1"]), &http));
    assert_eq!(touched, ["shop/orders"]);
    assert_eq!(hosts(&catalog, "shop/orders", "http"), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(hosts(&catalog, "shop/orders", "admin"), ["10.0.0.1:9", "10.0.0.2:9"]);
    assert!(hosts(&catalog, "shop/orders", "8080").is_empty(), "a number is no name");
    let metadata = slice("b", "orders", &json!([]), &http).metadata;
    assert_eq!(catalog.remove(&metadata), ["shop/orders"]);
    assert_eq!(hosts(&catalog, "shop/orders", "http"), ["10.0.0.1:8080"]);
    let touched = catalog.put(slice("a", "carts", &json!(["10.0.0.3"]), &http));
    assert_eq!(touched, ["shop/orders", "shop/carts"], "a slice may change hands");
    assert!(hosts(&catalog, "shop/orders", "http").is_empty());
}

#[test]
fn numbers_count_where_ports_have_no_name_and_ipv4_goes_first() {
    let mut catalog = Catalog::default();
    let ports = json!([{"name": "", "port": 8080}]);
    catalog.put(slice("six", "orders", &json!(["fd00::1"]), &ports));
    assert_eq!(hosts(&catalog, "shop/orders", "8080"), ["fd00::1:8080"]);
    catalog.put(slice("four", "orders", &json!(["10.0.0.1"]), &ports));
    assert_eq!(hosts(&catalog, "shop/orders", "8080"), ["10.0.0.1:8080"]);
}

#[test]
fn endpoints_that_are_not_ready_are_left_out() {
    let document = json!({
        "metadata": {"name": "a", "namespace": "shop", "labels": {"kubernetes.io/service-name": "orders"}},
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": null}},
        ],
        "ports": [{"name": "http", "port": 80}],
    });
    let mut catalog = Catalog::default();
    catalog.put(serde_json::from_value(document).unwrap());
    assert_eq!(hosts(&catalog, "shop/orders", "http"), ["10.0.0.1:80", "10.0.0.3:80"]);
}

#[test]
fn namespaces_are_selected_by_whole_names() {
    let contain = |selector: Value, namespace: &str| {
        let selector = serde_json::from_value(selector).unwrap();
        Namespaces::compile(Some(&selector)).unwrap().contain(namespace)
    };
    assert!(contain(json!({"equal": "shop"}), "shop"));
    assert!(!contain(json!({"equal": "shop"}), "shop-2"));
    assert!(contain(json!({"not_equal": "shop"}), "shop-2"));
    assert!(contain(json!({"match": ["shop", "a.*"]}), "abc"));
    assert!(!contain(json!({"match": ["shop"]}), "shop-2"), "the whole name");
    assert!(!contain(json!({"not_match": ["shop.*"]}), "shop-2"));
    assert!(contain(json!({}), "anything"));
}

#[test]
fn a_registry_is_read_as_the_control_plane_writes_it() {
    let read = |service: Value| {
        let document = json!({"id": "7", "service": service, "client": {"token": "t"},
            "label_selector": "a=b"});
        let registry = Registry::parse(document.to_string().as_bytes())?;
        registry.origin()
    };
    let service = |schema: &str, host: &str, port: Value| json!({"schema": schema, "host": host, "port": port});
    assert_eq!(read(service("https", "10.0.0.1", json!("6443"))).unwrap(), "https://10.0.0.1:6443");
    assert_eq!(read(service("http", "fd00::1", json!(80))).unwrap(), "http://[fd00::1]:80");
    let error = read(service("https", "${GANTRY_NO_SUCH_HOST}", json!("1"))).unwrap_err();
    assert_eq!(error, "the environment has no variable `GANTRY_NO_SUCH_HOST`");
    assert!(read(service("ftp", "a", json!(1))).is_err());
    assert!(read(json!({"port": 1})).is_err());
}

#[test]
fn a_service_name_has_three_parts_and_a_port() {
    let directory = Directory::default();
    assert!(directory.subscribe("4001/shop/orders:http").unwrap().borrow().is_empty());
    for name in ["shop/orders:http", "4001/shop/orders", "4001/shop/a/b:http", ""] {
        assert!(directory.subscribe(name).is_err(), "{name}");
    }
}
