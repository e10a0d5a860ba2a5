//! What `/metrics` shows is what the README's table says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use earnest_relay::SimulationConfig;
use std::collections::{BTreeMap, BTreeSet};
use world::{PATIENCE, Setting, World, rpc::Rpc, unhurried, workshop::Workshop};

/// A row of the table: kind, and the values of each label, none if they are not listed.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn table() -> BTreeMap<String, Row> {
    let rows = include_str!("../README.md").lines().filter(|line| line.starts_with("| `earnest_"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let words =
            |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let label = |text: &str| {
            let mut words = words(text).into_iter();
            Some((words.next()?, words.collect()))
        };
        let row = Row { kind: cells[2].to_owned(), labels: cells[3].split(';').filter_map(label).collect() };
        (words(cells[1]).remove(0), row)
    })
    .collect()
}

/// Every metric that is shown, with the labels that it has been shown with.
fn shown(text: &str) -> BTreeMap<String, Row> {
    let mut kinds = BTreeMap::new();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        }
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            name.strip_suffix(end).filter(|name| kinds.get(*name).is_some_and(|kind| kind == "histogram"))
        });
        let name = of_histogram.unwrap_or(name);
        let row = rows
            .entry(name.to_owned())
            .or_insert_with(|| Row { kind: kinds[name].clone(), labels: BTreeMap::new() });
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap();
            if label != "le" {
                row.labels
                    .entry(label.to_owned())
                    .or_default()
                    .insert(value.trim_end_matches('"').to_owned());
            }
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_says_what_is_shown() {
    let simulator = Rpc::start(|_, _| Ok(serde_json::Value::Null)).await;
    let simulation = SimulationConfig { endpoints: vec![simulator.url], ..SimulationConfig::default() };
    let setting = Setting { slot_ms: 6_000, timing: unhurried(), simulation, ..Setting::default() };
    let world = World::start(setting).await;
    world.register().await;
    let workshop = Workshop::open(&world, 1).await;
    workshop.bid(&world, 1, 20, false).await;
    let (slot, key) = (workshop.slot, &workshop.proposer);
    world.node.wait_for_slot(slot).await;
    let path = world.header_path("/eth/v1/builder/header", slot, key);
    let asked = world
        .http
        .get(world.url(&path))
        .header("date-milliseconds", world.now_ms() - 5)
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    let bid = world.header(slot, key).await;
    let (index, _) = world.proposer(slot).await;
    let signed = world.blinded(slot, &bid, index, key, 0);
    assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &signed).await.0, 200);
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{}/ws/v1/top_bid", world.relay.local_addr))
            .await
            .unwrap();

    let table = table();
    let seen = async {
        loop {
            let text = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
            let shown = shown(&text);
            // Gauges come within a second, and the publishing goes on behind the answer.
            if table.keys().all(|name| shown.contains_key(name)) {
                return (text, shown);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let (text, shown) = tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{table:#?}"));
    for (name, row) in shown.iter().filter(|(name, _)| name.starts_with("earnest_")) {
        let Some(said) = table.get(name) else { panic!("{name} is not in the table of README.md") };
        assert_eq!(said.kind, row.kind, "{name}");
        let labels = |row: &Row| row.labels.keys().cloned().collect::<Vec<_>>();
        assert_eq!(labels(said), labels(row), "{name}");
        for (label, values) in &row.labels {
            let known = &said.labels[label];
            assert!(
                known.is_empty() || values.is_subset(known),
                "{name} {label}: {values:?}, said {known:?}"
            );
        }
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    let value = |series: &str| -> f64 {
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert_eq!(value("earnest_relay_registrations"), 4.0);
    assert_eq!(value("earnest_relay_received_bids"), 1.0);
    assert_eq!(value("earnest_relay_streams{stream=\"top_bid\"}"), 1.0);
    assert_eq!(value("earnest_relay_submissions_total{outcome=\"best\"}"), 1.0);
    assert_eq!(value("earnest_relay_payloads_total{outcome=\"delivered\"}"), 1.0);
    assert_eq!(value("earnest_relay_headers_total{served=\"yes\"}"), 2.0);
    assert_eq!(value("earnest_relay_ready"), 1.0);
    socket.close(None).await.unwrap();
}
