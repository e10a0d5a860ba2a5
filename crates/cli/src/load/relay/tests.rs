//! Every way to load a relay, against one over an in-memory beacon node.

use clap::Parser;
use serde_json::Value;

use super::{world::World, *};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    load: RelayLoad,
}

fn options(line: &str) -> RelayLoad {
    Line::try_parse_from(std::iter::once("load").chain(line.split(' '))).unwrap().load
}

fn seen(report: &(impl Serialize + std::fmt::Display)) -> Value {
    assert!(!report.to_string().is_empty());
    serde_json::to_value(report).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_registers_posts_blocks_and_asks_for_headers() {
    let folder = tempfile::tempdir().unwrap();
    let domain = earnest_builder_types::domain::builder_domain(world::FORK_VERSION);
    let validators = registrations::Registrations::make(3, 8, domain).await.unwrap();
    let here = tokio::runtime::Handle::current();
    let world = World::start(&here, validators.keys(), folder.path()).await.unwrap();
    let (relay, beacon) = world.urls();
    let common = format!("--url {relay} --duration 1 --rate 40 --block-bytes 20000");
    let client = RelayLoad::client(relay).unwrap();

    let with = options(&format!("{common} --beacon {beacon} --first-key 3 --count 8 --list 3"));
    let report = seen(&registrations::run(&with, &client).await.unwrap());
    assert_eq!((&report["count"], &report["list"]), (&8.into(), &3.into()));

    // The world's own attributes are those of the coming slot: a listener that comes later hears nothing of them.
    let attributes = world.attributes.next(|_| true).await.unwrap();
    let with = options(&format!("{common} --what submissions --encoding json"));
    let report = submissions::measure_with(&with, &client, &world.attributes).await.unwrap();
    let report = seen(&report);
    assert_eq!((&report["ok"], &report["errors"], &report["slots"]), (&40.into(), &0.into(), &1.into()));
    assert_eq!(report["on_offer"], true);

    let (slot, parent) = (attributes.data.proposal_slot, attributes.data.parent_block_hash);
    let duty = client.duties().await.unwrap().into_iter().find(|duty| duty.slot == slot).unwrap();
    let header =
        format!("{common} --slot {slot} --parent-hash {parent} --pubkey {}", duty.entry.message.pubkey);
    for line in [format!("{header} --peer"), header] {
        let report = seen(&reads::run(&options(&line), &client, What::Header).await.unwrap());
        assert_eq!((&report["relay"]["ok"], &report["relay"]["errors"]), (&40.into(), &0.into()), "{report}");
        let bare = &report["bare"];
        assert!(bare.is_null() || bare["ok"] == 40, "{report}");
        assert_eq!(bare.is_object(), line.ends_with("--peer"));
    }
    for what in [What::Status, What::Duties, What::Schedule, What::Delivered] {
        let report = seen(&reads::run(&options(&common), &client, what).await.unwrap());
        assert_eq!(report["relay"]["ok"], 40, "{report}");
    }
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budgets_are_measured_without_any_set_up() {
    let folder = tempfile::tempdir().unwrap();
    let line = "--self-contained --count 8 --list 3 --rounds 1 --duration 1 --block-bytes 20000";
    let options = options(line);
    let servers = tokio::runtime::Handle::current();
    let report = seen(&budgets::measure(&options, folder.path(), &servers).await.unwrap());
    let lines = report["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 9, "{report}");
    assert!(lines.iter().all(|line| line["figure"].as_f64().unwrap() > 0.0), "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays behind");
}

#[test]
fn a_relay_must_be_named_or_started() {
    assert!(Line::try_parse_from(["load"]).is_err());
    assert!(Line::try_parse_from(["load", "--self-contained", "--url", "http://127.0.0.1:1"]).is_err());
}
