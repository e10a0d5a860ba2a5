//! Stock peers propose through the relay: `make e2e`. Prints a row for each slot, and what it comes to.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::{collections::BTreeMap, process::ExitCode};

use earnest_tests::e2e::{
    ledger::{Row, Source},
    network::{Network, Pool, Step},
    peers::BuilderEncoding,
    run::Run,
    settings::Settings,
};
use tokio::signal::unix::{SignalKind, signal};

/// The last slot of the part in which nothing is broken, and how many must count in it.
const JSON: (u64, usize) = (45, 40);
const SSZ: (u64, usize) = (26, 20);
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
const SSZ_PLAN: [(u64, Step); 4] = [
    (8, Step::Constrain(2, Pool::Public)),
    (12, Step::Unkeepable),
    (16, Step::Constrain(1, Pool::OfTheBuilder)),
    (20, Step::Unincludable),
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
    outcome.add(Box::pin(json(&settings)).await);
    outcome.add(Box::pin(ssz(&settings)).await);
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

/// The client's builder speaks SSZ.
async fn ssz(settings: &Settings) -> Run {
    let (last, least) = SSZ;
    let mut run = Run::new(Network::start(settings, BuilderEncoding::Ssz, &[]).await);
    run.drive(1..=last, &BTreeMap::from(SSZ_PLAN)).await;
    run.settle_all().await;
    run.count("SSZ", 1..=last, least);
    run
}

/// What the runs come to.
#[derive(Default)]
struct Outcome {
    findings: Vec<String>,
    broken: Vec<String>,
    rows: Vec<Row>,
}

impl Outcome {
    fn add(&mut self, run: Run) {
        self.rows.extend(run.network.rows(..).cloned());
        self.findings.extend(run.findings);
        self.broken.extend(run.broken);
    }

    fn print(&self) {
        println!();
        for finding in &self.findings {
            println!("- {finding}");
        }
        let count = |source: fn(&Source) -> bool| self.rows.iter().filter(|row| source(&row.source)).count();
        println!(
            "- all {} slots: {} of the relay, {} local, {} missed",
            self.rows.len(),
            count(|source| matches!(source, Source::Relay { .. })),
            count(|source| *source == Source::Local),
            count(|source| *source == Source::Missed),
        );
        for broken in &self.broken {
            println!("BROKEN: {broken}");
        }
    }
}
