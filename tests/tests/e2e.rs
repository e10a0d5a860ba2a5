//! Stock peers propose through the relay: `make e2e`. Prints a row for each slot, and what it comes to.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::{collections::BTreeMap, process::ExitCode};

use earnest_tests::e2e::{
    course::Course,
    ledger::{Row, Source},
    network::{Network, Pool, Step},
    peers::BuilderEncoding,
    run::Run,
    settings::Settings,
};
use tokio::signal::unix::{SignalKind, signal};

/// The last slot of the part in which nothing is broken, and how many must count in it.
const JSON: (u64, usize) = (45, 40);
/// Slots of the validator that the harness signs for: one where all is well, three to kill the relay in.
const OWN_SLOTS: [u64; 4] = [20, 49, 51, 53];
/// Constrained slots.
const JSON_PLAN: [(u64, Step); 9] = [
    (8, Step::Constrain(1, Pool::Public)),
    (11, Step::Unkeepable),
    (14, Step::Constrain(2, Pool::Public)),
    (22, Step::Constrain(1, Pool::OfTheBuilder)),
    (28, Step::Constrain(3, Pool::Public)),
    (32, Step::Unkeepable),
    (36, Step::Constrain(2, Pool::OfTheBuilder)),
    (40, Step::Unincludable),
    (42, Step::Constrain(1, Pool::Public)),
];
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).unwrap();
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        // Whichever is first, the others are dropped, and with them all that runs.
        tokio::select! {
            code = run() => code,
            _ = interrupt.recv() => ExitCode::from(130),
            _ = terminate.recv() => ExitCode::from(143),
        }
    })
}

async fn run() -> ExitCode {
    let settings = Settings::from_environment();
    println!("logs: {}", settings.logs.display());
    let mut outcome = Outcome::default();
    let wanted = |name: &str| settings.only.as_deref().is_none_or(|only| only == name);
    if wanted("json") {
        let run = Box::pin(json(&settings)).await;
        outcome.add(&run.network, run.findings, run.broken);
    }
    if wanted("sidecar") {
        let (course, table) = Box::pin(behind_a_sidecar(&settings)).await;
        outcome.add(&course.network, course.findings, course.broken);
        std::fs::write(settings.logs.join("sidecar/table.md"), format!("{table}\n")).unwrap();
        outcome.table = table;
    }
    outcome.print();
    println!("logs: {}", settings.logs.display());
    if outcome.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The client's builder speaks JSON: first all is well, and then it is not.
async fn json(settings: &Settings) -> Run {
    let (last, least) = JSON;
    let mut run = Run::new(Network::start(settings, BuilderEncoding::Json, &OWN_SLOTS).await);
    run.drive(1..=last, &BTreeMap::from(JSON_PLAN)).await;
    run.killed_in_the_clients_own_slot(last + 1).await;
    run.count("JSON", 1..=last, least);
    run.killed_and_asked_again(last + 2, &OWN_SLOTS).await;
    run.stopped_and_cut(OWN_SLOTS[3] + 1).await;
    run
}

/// The sidecar is in front, which the client's builder speaks SSZ with.
async fn behind_a_sidecar(settings: &Settings) -> (Course, String) {
    let mut course = Course::new(Network::start_behind_a_sidecar(settings).await);
    let table = course.run().await;
    (course, table)
}

/// What the runs come to.
#[derive(Default)]
struct Outcome {
    findings: Vec<String>,
    broken: Vec<String>,
    rows: Vec<Row>,
    table: String,
}

impl Outcome {
    fn add(&mut self, network: &Network, findings: Vec<String>, broken: Vec<String>) {
        self.rows.extend(network.rows(..).cloned());
        self.findings.extend(findings);
        self.broken.extend(broken);
    }

    fn print(&self) {
        println!();
        for finding in &self.findings {
            println!("- {finding}");
        }
        let count = |source: fn(&Source) -> bool| self.rows.iter().filter(|row| source(&row.source)).count();
        println!(
            "- all {} slots: {} of the relay, {} of the other relay by mev-boost, {} local, {} missed",
            self.rows.len(),
            count(|source| matches!(source, Source::Relay { .. })),
            count(|source| matches!(source, Source::MevBoost { .. })),
            count(|source| *source == Source::Local),
            count(|source| matches!(source, Source::Missed | Source::Lost)),
        );
        if !self.table.is_empty() {
            println!("\n{}\n", self.table);
        }
        for broken in &self.broken {
            println!("BROKEN: {broken}");
        }
    }
}
