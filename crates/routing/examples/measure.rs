//! Prints what lookups and updates cost with few and many routes:
//! `cargo run --release -p gantry-routing --example measure`.

use std::hint::black_box;
use std::time::Instant;

use gantry_routing::table::{Pattern, RouteTable};

const LOOKUPS: u32 = 1_000_000;
const UPDATES: usize = 10_000;

fn main() -> Result<(), String> {
    for count in [1, 100, 10_000, 100_000] {
        measure(count)?;
    }
    Ok(())
}

fn measure(count: usize) -> Result<(), String> {
    let mut table = RouteTable::new();
    let started = Instant::now();
    for number in 0..count {
        table.insert(Some(&host(number)), &pattern(number)?, &number.to_string().into(), 0, number);
    }
    let built = started.elapsed();

    let requests: Vec<(String, String)> = (0..1024)
        .map(|number| number * 97 % count)
        .map(|number| (host(number), format!("/api/v1/resource-{number}/items/7")))
        .collect();
    let started = Instant::now();
    for (host, path) in requests.iter().cycle().take(LOOKUPS as usize) {
        black_box(table.lookup(black_box(host), black_box(path), |_| true));
    }
    let lookup = started.elapsed() / LOOKUPS;

    let started = Instant::now();
    for update in 0..UPDATES {
        let number = update * 7919 % count;
        let old = table.clone();
        table.insert(Some(&host(number)), &pattern(number)?, &number.to_string().into(), 0, update);
        black_box(old);
    }
    let update = started.elapsed() / UPDATES as u32;
    println!("{count:>7} routes: build {built:>9.2?}, lookup {lookup:?}, update {update:?}");
    Ok(())
}

/// A hundred hosts, so that hosts and paths both branch.
fn host(number: usize) -> String {
    format!("app-{}.example.com", number % 100)
}

fn pattern(number: usize) -> Result<Pattern, String> {
    Pattern::compile(&format!("/api/v1/resource-{number}/*"))
}
