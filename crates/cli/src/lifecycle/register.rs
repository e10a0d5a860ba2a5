//! `earnest proposer register`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use clap::Args;
use earnest_builder_types::BlsPublicKey;
use earnest_chain::registry::State;
use earnest_chain::{BeaconClient, ValidatorRecord};
use earnest_client::operator::plan::{self, MAX_BATCH};
use earnest_client::operator::when::span;
use earnest_client::operator::{Act, Amount, Plan, Record, ether};
use earnest_proposer::validator_keys;
use earnest_protocol::objects::Registration;
use earnest_protocol::registry::SignedRegistration;
use earnest_protocol::signing::{EARNEST_SIGNING_ID, Message, Network};
use earnest_signer::remote::JoinedBls;
use earnest_signer::{BlsSigner, SigningRequest};
use futures::{StreamExt, TryStreamExt, stream};

use crate::failure::Failure;
use crate::role::cause;

use super::index;
use super::outbox::write_durably;
use super::sender::{Outcome, Sender};
use super::settings::{Sending, Settings, of_file, read_file};

/// Consents that are signed at once.
const AT_ONCE: usize = 8;
/// How often the very same keys can come back: each time takes a nonce of its own.
const MAX_NONCE: u64 = 64;
/// Keys that are named in a message.
const SHOWN: usize = 20;

/// Options of `earnest proposer register`.
#[derive(Debug, Args)]
#[command(
    after_help = "More than 256 keys make several operators, each with a collateral, and later a committer, of its own."
)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    sending: Sending,
    /// Only these keys, comma separated. Default: all that the sidecar signs with.
    #[arg(long, value_delimiter = ',')]
    pubkeys: Vec<BlsPublicKey>,
    /// Collateral of each operator: `32ether`, or wei. Default: the least that the Registry takes.
    #[arg(long)]
    collateral: Option<Amount>,
    /// Register also keys that the beacon node does not know as validators, or without a beacon node.
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: RegisterArgs) -> Result<(), Failure> {
    let settings = Settings::read(&args.sending.common)?;
    let terms = settings.reader().await?.terms().await.map_err(cause)?;
    let collateral = args.collateral.map_or(terms.min_collateral, |amount| amount.0);
    if collateral < terms.min_collateral {
        let least = ether(terms.min_collateral);
        return Err(Failure::new(format!(
            "{} is less collateral than the Registry takes, which is {least}",
            ether(collateral)
        )));
    }
    plan::within(collateral).map_err(cause)?;

    let sender = Sender::open(&settings, &args.sending).await?;
    let owner = sender.address();
    let signer = signer(&settings).await?;
    let keys = chosen(signer.public_keys(), &args.pubkeys)?;
    let limit = Duration::from_secs(args.sending.limit);
    let state = index::state(&settings, limit).await?;
    let sorted = plan::sort_keys(keys, owner, &state).map_err(cause)?;
    check_validators(&settings, &sorted.fresh, args.force).await?;

    let mut todo = Plan::default();
    let mut registered: BTreeMap<_, usize> = BTreeMap::new();
    for (_, root) in &sorted.registered {
        let keys = registered.entry(root).or_default();
        *keys = keys.saturating_add(1);
    }
    for (root, keys) in registered {
        todo.done.push(format!("{keys} keys are registered in {root}"));
    }
    let mut records = Vec::new();
    for batch in sorted.fresh.chunks(MAX_BATCH) {
        let record = consents(&settings, &signer, owner, batch, &state).await?;
        let tree = record.tree().ok_or_else(|| Failure::new("the consents make no tree"))?;
        if sender.is_dry_run() {
            println!("registration file {} would be written", path_of(&settings, &record).display());
        }
        todo.acts.push(Act::Register { tree, owner, collateral });
        records.push(record);
    }
    let write = || records.iter().try_for_each(|record| keep(&settings, record));
    if sender.perform_after(todo, write).await? == Outcome::DryRun || records.is_empty() {
        return Ok(());
    }
    for record in &records {
        println!("registration root {}", record.registration_root);
    }
    println!(
        "next: registration_root in [market], then `opt-in`, in {} (the time to show forged consents)",
        span(terms.fraud_window)
    );
    Ok(())
}

/// Whatever signs for the sidecar, with the keys that each holds.
async fn signer(settings: &Settings) -> Result<Arc<JoinedBls>, Failure> {
    let config = settings.config.clone();
    let loading = tokio::task::spawn_blocking(move || validator_keys::load(&config));
    let signer = loading.await.map_err(cause)?.map_err(cause)?;
    signer.refresh().await.map_err(cause)?;
    Ok(Arc::new(signer))
}

/// The keys to register.
fn chosen(held: Vec<BlsPublicKey>, wanted: &[BlsPublicKey]) -> Result<Vec<BlsPublicKey>, Failure> {
    if held.is_empty() {
        return Err(Failure::new(
            "no validator keys: give [keys], [commit_boost] or [web3signer] in the configuration",
        ));
    }
    if wanted.is_empty() {
        return Ok(held);
    }
    let held: BTreeSet<_> = held.into_iter().collect();
    let strange: Vec<String> =
        wanted.iter().filter(|key| !held.contains(*key)).map(ToString::to_string).collect();
    if strange.is_empty() {
        Ok(wanted.to_vec())
    } else {
        Err(Failure::new(format!("no signer of ours holds{}", list(&strange))))
    }
}

fn list(lines: &[String]) -> String {
    let mut text: String = lines.iter().take(SHOWN).map(|line| format!("\n  {line}")).collect();
    if let Some(more) = lines.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

/// Refuses keys that the beacon chain does not know as validators.
async fn check_validators(settings: &Settings, keys: &[BlsPublicKey], force: bool) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let wrong = match ask_beacon(settings, keys).await {
        Ok(found) => unfit(keys, &found),
        Err(error) => vec![format!("the beacon node does not say whether they are validators: {error}")],
    };
    if wrong.is_empty() {
        return Ok(());
    }
    if force {
        eprintln!("registered all the same (--force):{}", list(&wrong));
        return Ok(());
    }
    Err(Failure::new(format!(
        "nothing was registered:{}\nleave such keys out by --pubkeys, or give --force",
        list(&wrong)
    )))
}

async fn ask_beacon(settings: &Settings, keys: &[BlsPublicKey]) -> Result<Vec<ValidatorRecord>, String> {
    let beacon = BeaconClient::new(settings.config.beacon.clone()).map_err(|error| error.to_string())?;
    let genesis = beacon.genesis().await.map_err(|error| error.to_string())?;
    let ours = settings.config.network.genesis_fork_version;
    if genesis.genesis_fork_version != ours {
        return Err(format!("it is of another network than [network] says: {genesis:?}"));
    }
    beacon.validators_by_pubkey(keys).await.map_err(|error| error.to_string())
}

/// What is wrong with keys as validators, by what the beacon node says of them.
fn unfit(keys: &[BlsPublicKey], found: &[ValidatorRecord]) -> Vec<String> {
    let found: BTreeMap<_, _> = found.iter().map(|record| (record.pubkey, record)).collect();
    let wrong = keys.iter().filter_map(|key| match found.get(key) {
        None => Some(format!("{key} is no validator")),
        Some(record) if record.slashed => Some(format!("{key} was slashed as a validator")),
        Some(record) if !record.may_register() => Some(format!("{key} is {}", record.status)),
        Some(_) => None,
    });
    wrong.collect()
}

/// The consents of a batch, under the first nonce with which it was never registered.
async fn consents(
    settings: &Settings,
    signer: &Arc<JoinedBls>,
    owner: Address,
    batch: &[BlsPublicKey],
    state: &State,
) -> Result<Record, Failure> {
    let network = settings.config.network;
    for nonce in 0..MAX_NONCE {
        let signed: Vec<SignedRegistration> = stream::iter(batch.iter().copied())
            .map(|key| consent(Arc::clone(signer), key, owner, nonce, network))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let record = Record::new(network, settings.contracts.registry, owner, signed)
            .ok_or_else(|| Failure::new("the consents make no tree"))?;
        // Whoever is registered and counts is not among the keys any more: a root that is there is at its end.
        if state.operator(&record.registration_root).is_none() {
            return Ok(record);
        }
    }
    Err(Failure::new(format!("these keys came back {MAX_NONCE} times: register them with another owner")))
}

async fn consent(
    signer: Arc<JoinedBls>,
    key: BlsPublicKey,
    owner: Address,
    nonce: u64,
    network: Network,
) -> Result<SignedRegistration, Failure> {
    let object_root = Registration { owner }.object_root().map_err(cause)?;
    let request = SigningRequest::Module { object_root, signing_id: EARNEST_SIGNING_ID, nonce, network };
    let signature = signer.sign(&key, request).await.map_err(cause)?;
    let signed = SignedRegistration { pubkey: key, signature, nonce };
    // A consent that does not hold costs half of the collateral.
    let checked = signed.clone();
    let check = tokio::task::spawn_blocking(move || checked.verify(owner, EARNEST_SIGNING_ID, &network));
    check.await.map_err(cause)?.map_err(|error| Failure::new(format!("the consent of {key}: {error}")))?;
    Ok(signed)
}

fn path_of(settings: &Settings, record: &Record) -> std::path::PathBuf {
    settings.folder.join(record.file_name())
}

/// Writes the registration file before anything is sent; never over another.
fn keep(settings: &Settings, record: &Record) -> Result<(), Failure> {
    let path = path_of(settings, record);
    if path.try_exists().map_err(|error| of_file(&path, error))? {
        let there = Record::read(&read_file(&path)?).map_err(|error| of_file(&path, error))?;
        if there != *record {
            return Err(of_file(&path, "is there with other contents: move it away, or give another --dir"));
        }
        println!("registration file {} is there", path.display());
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(record).map_err(cause)?;
    write_durably(&path, &text, false)?;
    println!("registration file {} written: keep it, proofs need it", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn key(byte: u8) -> BlsPublicKey {
        BlsPublicKey::from([byte; 48])
    }

    fn record(byte: u8, status: &str) -> ValidatorRecord {
        ValidatorRecord {
            index: 1,
            pubkey: key(byte),
            status: status.to_owned(),
            slashed: status.ends_with("slashed") && !status.ends_with("unslashed"),
            withdrawal_credentials: B256::ZERO,
        }
    }

    #[test]
    fn only_validators_with_a_future_are_fit() {
        let found = [
            record(1, "active_ongoing"),
            record(2, "pending_queued"),
            record(3, "exited_unslashed"),
            record(4, "active_slashed"),
        ];
        let wrong = unfit(&[1, 2, 3, 4, 5].map(key), &found);
        assert_eq!(wrong.len(), 3);
        for (line, said) in wrong.iter().zip(["exited_unslashed", "slashed as a validator", "no validator"]) {
            assert!(line.contains(said), "{line}");
        }
    }

    #[test]
    fn keys_are_chosen_among_those_held() {
        let held = || [1, 2, 3].map(key).to_vec();
        assert_eq!(chosen(held(), &[]).unwrap(), held());
        assert_eq!(chosen(held(), &[key(2)]).unwrap(), [key(2)]);
        assert!(chosen(held(), &[key(9)]).unwrap_err().to_string().contains(&key(9).to_string()));
        assert!(chosen(Vec::new(), &[]).unwrap_err().to_string().contains("[web3signer]"));
    }

    #[test]
    fn long_lists_are_cut() {
        let lines: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        assert!(list(&lines).ends_with("and 5 more"));
        assert!(!list(&lines[..20]).contains("more"));
    }
}
