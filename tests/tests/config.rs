//! What is shipped beside the code is code: every file of `config/` is read by its role, says the defaults and leaves
//! no key out; every command of the documentation is one that the binary knows.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects
)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use earnest_tests::binary::earnest;
use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

/// A key that no configuration has.
const FOREIGN: &str = "no_such_key";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text_of(role: &str) -> String {
    std::fs::read_to_string(repository().join(format!("config/{role}.toml"))).unwrap()
}

/// A key of a file, as a reader finds it.
#[derive(Debug)]
struct Entry {
    section: String,
    key: String,
    /// The comment lines above it, or above the group of keys that it is in.
    comment: String,
}

/// Reads a file line by line; values do not span lines in ours.
fn entries(text: &str) -> Vec<Entry> {
    let (mut section, mut comment, mut fresh) = (String::new(), String::new(), true);
    let mut entries = Vec::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            if fresh {
                comment.clear();
                fresh = false;
            }
            comment.push_str(words);
            continue;
        }
        fresh = true;
        if line.is_empty() {
            comment.clear();
        } else if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else {
            let (key, _) = line.split_once(" = ").unwrap_or_else(|| panic!("not a key: {line}"));
            let entry = Entry { section: section.clone(), key: key.to_owned(), comment: comment.clone() };
            // Of a list of tables the first explains.
            if !entries.iter().any(|e: &Entry| (&e.section, &e.key) == (&entry.section, &entry.key)) {
                entries.push(entry);
            }
        }
    }
    entries
}

/// The table of a section; of a list of tables the first.
fn section<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    if name.is_empty() {
        return table;
    }
    match table.get_mut(name) {
        Some(Value::Table(table)) => table,
        Some(Value::Array(list)) => match list.first_mut() {
            Some(Value::Table(table)) => table,
            other => panic!("{name} begins with {other:?}"),
        },
        other => panic!("{name} is {other:?}"),
    }
}

fn parse<C: DeserializeOwned>(table: &Table) -> Result<C, String> {
    C::deserialize(table.clone()).map_err(|error| error.to_string())
}

/// The keys that a section may have, from what is said to one that it may not.
fn allowed<C: DeserializeOwned>(table: &Table, name: &str) -> BTreeSet<String> {
    let mut table = table.clone();
    section(&mut table, name).insert(FOREIGN.to_owned(), Value::Boolean(true));
    let Err(error) = parse::<C>(&table) else { panic!("[{name}] takes any key") };
    assert!(error.contains(&format!("unknown field `{FOREIGN}`, expected")), "[{name}]: {error}");
    let expected = error.split_once("expected").unwrap().1.lines().next().unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn check<C: DeserializeOwned + Serialize>(role: &str) {
    let text = text_of(role);
    let table: Table = text.parse().unwrap();
    parse::<C>(&table).unwrap_or_else(|error| panic!("config/{role}.toml: {error}"));

    let entries = entries(&text);
    let mut sections: BTreeSet<&str> = entries.iter().map(|entry| entry.section.as_str()).collect();
    sections.insert("");
    for name in sections {
        let shown: BTreeSet<String> = section(&mut table.clone(), name).keys().cloned().collect();
        assert_eq!(
            shown,
            allowed::<C>(&table, name),
            "config/{role}.toml, [{name}]: keys shown, keys there are"
        );
    }
    for entry in &entries {
        check_default::<C>(role, &table, entry);
    }
}

/// A key has the value it has when it is left out; or its comment says that there is none, or which.
fn check_default<C: DeserializeOwned + Serialize>(role: &str, whole: &Table, entry: &Entry) {
    let Entry { section: name, key, comment } = entry;
    let at = format!("config/{role}.toml, [{name}] {key}");
    assert!(!comment.trim().is_empty(), "{at} is not explained");
    let mut table = whole.clone();
    let shown = section(&mut table, name).remove(key).unwrap();
    let config = match parse::<C>(&table) {
        Ok(config) => config,
        Err(error) => {
            assert!(error.contains(&format!("missing field `{key}`")), "{at}: {error}");
            assert!(comment.contains("no default"), "{at} has no default, and its comment does not say so");
            return;
        }
    };
    assert!(!comment.contains("no default"), "{at} has a default, and its comment says it has none");
    let mut defaults = Table::try_from(config).unwrap();
    match section(&mut defaults, name).get(key) {
        Some(default) if *default == shown => {}
        Some(default) => assert!(
            comment.contains(&format!("Default `{default}`")),
            "{at} is {shown}, its default {default}, and its comment does not say so"
        ),
        None => assert!(comment.contains("eave it out"), "{at} may be left out; its comment does not say so"),
    }
}

#[test]
fn each_role_has_its_file() {
    let files: BTreeSet<String> = std::fs::read_dir(repository().join("config"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, ["gateway.toml", "proposer.toml", "relay.toml"].map(str::to_owned).into());
}

#[test]
fn gateway() {
    check::<earnest_gateway::Config>("gateway");
}

#[test]
fn relay() {
    check::<earnest_relay::Config>("relay");
}

#[test]
fn proposer() {
    check::<earnest_proposer::Config>("proposer");
    parse::<earnest_proposer::Config>(&text_of("proposer").parse().unwrap()).unwrap().check().unwrap();
}

/// The files are of one system: each part looks for the others where they listen.
#[test]
fn the_files_fit_together() {
    let gateway: earnest_gateway::Config = parse(&text_of("gateway").parse().unwrap()).unwrap();
    let relay: earnest_relay::Config = parse(&text_of("relay").parse().unwrap()).unwrap();
    let proposer: earnest_proposer::Config = parse(&text_of("proposer").parse().unwrap()).unwrap();
    let url = |address: std::net::SocketAddr| format!("http://{address}/");
    assert_eq!(gateway.relay.as_str(), url(relay.listen));
    assert_eq!(proposer.sources[0].url.as_str(), url(relay.listen));
    let named = proposer.gateway.unwrap();
    assert_eq!(named.url, url(gateway.listen));
    assert_eq!(named.relay_address, gateway.relay_address);
    assert_eq!(proposer.network, relay.network);
    assert_eq!(gateway.inbox, relay.inbox);
    assert_eq!(
        (gateway.seal, gateway.constraint_cutoff),
        (relay.timing.seal, relay.timing.constraint_cutoff)
    );
    assert_eq!(gateway.seal, proposer.seal);
}

/// The calls of the binary in a text: in its `sh` blocks, or in the comments of a configuration.
fn calls(text: &str) -> Vec<Vec<String>> {
    let mut shell = false;
    let mut calls = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            shell = language == "sh";
            continue;
        }
        let commented = line.strip_prefix("#   ");
        let line = commented.unwrap_or(line);
        let called = ["$earnest ", "earnest "].iter().find_map(|name| line.strip_prefix(name));
        if let (true, Some(arguments)) = (shell || commented.is_some(), called) {
            let arguments = arguments.split(['#', '>', '|']).next().unwrap();
            calls.push(arguments.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect());
        }
    }
    calls
}

fn run(arguments: &[String], folder: &Path) -> Output {
    Command::new(earnest()).args(arguments).current_dir(folder).output().unwrap()
}

/// What stands for a variable of the shell.
fn filled_in(word: &str) -> String {
    match word {
        // Nobody answers there.
        "$GATEWAY" | "$RELAY" | "$L1" => "http://127.0.0.1:1".to_owned(),
        "$NETWORK" => "0x10000038:7014190335".to_owned(),
        // Seconds of load.
        "10" => "1".to_owned(),
        "$RELAY_ADDRESS" | "$SLASHER" => "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".to_owned(),
        word => word.to_owned(),
    }
}

#[test]
fn the_commands_of_the_documentation_exist() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let roles = ["gateway", "relay", "proposer"];
    let mut all = calls(&readme);
    assert!(all.len() >= 3, "README.md calls the binary {} times", all.len());
    for of_role in ["relay", "proposer"] {
        let text = std::fs::read_to_string(repository().join(of_role).join("README.md")).unwrap();
        all.extend(calls(&text));
    }
    for role in roles {
        let of_role = calls(&text_of(role));
        assert_eq!(of_role.len(), 1, "config/{role}.toml says how it is used");
        all.extend(of_role);
    }
    let folder = tempfile::tempdir().unwrap();
    for call in &all {
        let subcommand: Vec<String> =
            call.iter().take_while(|word| !word.starts_with('-')).cloned().collect();
        let help = run(&[subcommand.as_slice(), &["--help".to_owned()]].concat(), folder.path());
        assert!(
            help.status.success(),
            "earnest {}: {}",
            call.join(" "),
            String::from_utf8_lossy(&help.stderr)
        );
        let help = String::from_utf8(help.stdout).unwrap();
        for flag in call.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag.as_str()), "earnest {} has no {flag}", subcommand.join(" "));
        }
        // Taken as they stand, with nobody there to talk to: whatever comes of it, not for how they are called.
        let call: Vec<String> = call.iter().map(|word| filled_in(word)).collect();
        let outcome = run(&call, folder.path());
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert_ne!(outcome.status.code(), Some(2), "earnest {}: {said}", call.join(" "));
    }
}
