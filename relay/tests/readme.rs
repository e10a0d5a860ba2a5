//! The tables of README.md are of this relay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use reqwest::Method;
use std::collections::BTreeSet;
use world::{Setting, World, answer};

const README: &str = include_str!("../README.md");
const LIB: &str = include_str!("../src/lib.rs");

/// First cells of the table whose head begins so.
fn first_cells(text: &str, head: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_start_matches("//! "));
    let rows =
        lines.skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().to_owned()).collect()
}

#[test]
fn every_task_is_told() {
    let started = include_str!("../src/start.rs").split("tasks.spawn(\"").skip(1);
    let started: BTreeSet<String> =
        started.map(|rest| format!("`{}`", rest.split('"').next().unwrap())).collect();
    assert!(started.len() >= 4);
    for text in [README, LIB] {
        assert_eq!(BTreeSet::from_iter(first_cells(text, "| task |")), started);
    }
}

#[test]
fn channels_have_the_capacity_that_is_told() {
    let capacity = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("const {name}: usize = "))).unwrap();
        line.rsplit_once("= ").unwrap().1.trim_end_matches(';').replace('_', ",")
    };
    let waiting = capacity(include_str!("../src/received.rs"), "WAITING");
    let held = capacity(include_str!("../src/top_bids.rs"), "HELD");
    assert!(README.contains(&format!("| submissions | `received` | {waiting} |")), "{waiting}");
    assert!(README.contains(&format!("| each stream | {held} updates |")), "{held}");
    let behind = capacity(include_str!("../src/market/news.rs"), "BEHIND");
    assert!(README.contains(&format!("| each stream | {behind} events |")), "{behind}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_is_there() {
    let world = World::start(Setting::default()).await;
    let rows = first_cells(README, "| route |");
    assert!(rows.len() > 15, "{rows:?}");
    let mut asked = 0;
    for route in rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)) {
        let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
        if path.ends_with('…') {
            continue;
        }
        let filled = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let path = filled.collect::<Vec<_>>().join("/");
        let method: Method = method.parse().unwrap();
        let response = world.http.request(method, world.url(&path)).send().await.unwrap();
        assert!(![404, 405].contains(&response.status().as_u16()), "{route}: {}", response.status());
        asked += 1;
    }
    assert!(asked > 15, "{asked}");
    let unknown = world.http.get(world.url("/nothing")).send().await.unwrap();
    assert_eq!(answer(unknown).await.0, 404);
}
