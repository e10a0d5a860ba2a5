//! The protection record as a file that travels: EIP-3076 in spirit (design §6).
//!
//! ```json
//! { "metadata": { "format": "earnest-delegations", "interchange_format_version": "1",
//!                 "genesis_fork_version": "0x10000910", "chain_id": "560048", "floor": "9151" },
//!   "data": [ { "pubkey": "0x8f82…", "floor": "9000",
//!               "signed_delegations": [ { "slot": "9001", "signing_root": "0x…", "delegation": { … } } ] } ] }
//! ```
//!
//! A file says what was signed until it was written, and nothing of what was signed after. So whoever imports one gives a **floor**,
//! the last slot that anything may have been signed for: at or below it nothing is signed that the file does not hold, and headers for
//! those slots are answered 204 unless the file holds the slot's delegation. [`horizon`] is the floor that is always safe, since a
//! delegation is only signed for a slot of the lookahead.

use std::collections::BTreeMap;

use alloy_primitives::{B256, FixedBytes};
use earnest_builder_types::BlsPublicKey;
use earnest_journal::{Batch, Claim, Log, ReadError, Record};
use earnest_protocol::Slot;
use earnest_protocol::objects::Delegation;
use earnest_protocol::signing::Network;
use earnest_signer::{ClaimKey, SignerId};
use serde::{Deserialize, Serialize};

use crate::delegation_plan::{Floors, Place};
use crate::delegation_record::{self, Foreign, RecordError};
use crate::validator_keys::{PURPOSE, claim_key};

/// The name of the format.
const FORMAT: &str = "earnest-delegations";
/// The one version there is.
const VERSION: &str = "1";
/// Places written together: far below what a batch may hold, so that each is small.
const BATCH: usize = 256;
const READ_RECORDS: usize = 256;
const READ_BYTES: usize = 4 << 20;

/// Whose floor is that of all keys: [`SignerId::anyone`].
const ALL_KEYS: BlsPublicKey = FixedBytes::ZERO;

/// The record as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interchange {
    /// What the file is about.
    pub metadata: Metadata,
    /// What each key signed.
    pub data: Vec<KeyData>,
}

/// What a file is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// `earnest-delegations`.
    pub format: String,
    /// `1`.
    pub interchange_format_version: String,
    /// The network's genesis fork version, and its chain id.
    #[serde(flatten)]
    pub network: NetworkName,
    /// The floor of all keys, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Slot>,
}

/// A network by its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkName {
    /// Genesis fork version.
    pub genesis_fork_version: FixedBytes<4>,
    /// Chain id.
    #[serde(with = "earnest_protocol::integer")]
    pub chain_id: u64,
}

/// What one key signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyData {
    /// The key.
    pub pubkey: BlsPublicKey,
    /// Its floor, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Slot>,
    /// Its delegations.
    pub signed_delegations: Vec<SignedPlace>,
}

/// What was signed for one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPlace {
    /// The slot.
    pub slot: Slot,
    /// The root that was signed.
    pub signing_root: B256,
    /// The delegation with that root, if whoever wrote the file had it. Without it the slot gets no header of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<Delegation>,
}

/// Why a file is not taken. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Another format or version.
    #[error("not an {FORMAT} file of version {VERSION}")]
    Format,
    /// Of another network.
    #[error("the file is of another network: genesis fork version {}, chain id {}", .0.genesis_fork_version, .0.chain_id)]
    Network(NetworkName),
    /// A place twice with different roots, in the file or in the file and the record.
    #[error("slot {} of {} was signed twice with different roots: {first} and {second}", .place.0, .place.1)]
    Conflict {
        /// The place.
        place: Box<Place>,
        /// One root.
        first: B256,
        /// The other.
        second: B256,
    },
    /// A delegation that is not what the entry around it says.
    #[error("the delegation at slot {} of {} does not have the root that stands beside it", .0.0, .0.1)]
    OtherRoot(Box<Place>),
    /// The record refused.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl From<ReadError> for ImportError {
    fn from(error: ReadError) -> Self {
        Self::Record(error.into())
    }
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Places that were not in the record before.
    pub added: usize,
    /// Places that were there already, with the same root.
    pub known: usize,
}

/// The last slot that can have been delegated by anybody while it was `slot`: the end of the next epoch.
#[must_use]
pub const fn horizon(slot: u64, slots_per_epoch: u64) -> u64 {
    let per_epoch = if slots_per_epoch == 0 { 1 } else { slots_per_epoch };
    let first_of_epoch = slot.saturating_sub(match slot.checked_rem(per_epoch) {
        Some(into_epoch) => into_epoch,
        None => 0,
    });
    first_of_epoch.saturating_add(per_epoch.saturating_mul(2)).saturating_sub(1)
}

/// The floors of a record. Blocks.
///
/// # Errors
/// When the journal cannot be read.
pub fn floors(log: &dyn Log) -> Result<Floors, ReadError> {
    let mut floors = Floors::default();
    for claim in log.claims(&ClaimKey::floors(PURPOSE))? {
        let Some((key, slot)) = place_of(&claim) else { continue };
        if key == ALL_KEYS {
            floors.of_all = floors.of_all.max(Some(slot));
        } else {
            let floor = floors.by_key.entry(key).or_default();
            *floor = slot.max(*floor);
        }
    }
    Ok(floors)
}

/// The whole record as a file. Blocks.
///
/// # Errors
/// [`RecordError`] if the journal cannot be read.
pub fn export(log: &dyn Log, network: &Network) -> Result<Interchange, RecordError> {
    let mut messages = BTreeMap::new();
    let mut next = 0;
    loop {
        let entries = log.read(next, READ_RECORDS, READ_BYTES)?;
        let Some(last) = entries.last() else { break };
        next = last.position.saturating_add(1);
        for entry in &entries {
            if let Some(message) = delegation_record::claimed_in(entry)? {
                messages.insert((message.slot, message.proposer), message);
            }
        }
    }
    let floors = floors(log)?;
    let mut keys: BTreeMap<BlsPublicKey, Vec<SignedPlace>> =
        floors.by_key.keys().map(|key| (*key, Vec::new())).collect();
    for claim in log.claims(&ClaimKey::all_of(PURPOSE))? {
        let Some((key, slot)) = place_of(&claim) else { continue };
        let slot = Slot(slot);
        let delegation = messages.remove(&(slot, key));
        keys.entry(key).or_default().push(SignedPlace { slot, signing_root: claim.value, delegation });
    }
    let data = keys.into_iter().map(|(pubkey, signed_delegations)| KeyData {
        pubkey,
        floor: floors.by_key.get(&pubkey).copied().map(Slot),
        signed_delegations,
    });
    let metadata = Metadata {
        format: FORMAT.to_owned(),
        interchange_format_version: VERSION.to_owned(),
        network: NetworkName::of(network),
        floor: floors.of_all.map(Slot),
    };
    Ok(Interchange { metadata, data: data.collect() })
}

/// Takes a file into a record, and raises the floor of all keys to `floor`. Floors are written first: an import that a crash cuts
/// short leaves less that may be signed, never more, and may be done again. Blocks.
///
/// # Errors
/// [`ImportError`]; unless it is the journal's own, nothing was written.
pub fn import(
    log: &dyn Log,
    file: &Interchange,
    network: &Network,
    floor: Option<u64>,
) -> Result<Imported, ImportError> {
    let Metadata { format, interchange_format_version: version, network: of, floor: of_all } = &file.metadata;
    if format != FORMAT || version != VERSION {
        return Err(ImportError::Format);
    }
    if *of != NetworkName::of(network) {
        return Err(ImportError::Network(*of));
    }
    let places = check(log, file, network)?;
    let mut floors: Vec<Claim> = Vec::new();
    if let Some(floor) = of_all.map(|slot| slot.0).max(floor) {
        floors.push(ClaimKey::floor(PURPOSE, ALL_KEYS, floor));
    }
    for key in &file.data {
        let last = key.signed_delegations.iter().map(|signed| signed.slot).max();
        if let Some(floor) = key.floor.max(last) {
            floors.push(ClaimKey::floor(PURPOSE, key.pubkey, floor.0));
        }
    }
    for claims in floors.chunks(BATCH) {
        append(log, Batch { records: Vec::new(), claims: claims.to_vec() })?;
    }
    for new in places.new.chunks(BATCH) {
        let records = new.iter().map(|(place, signed)| {
            let signing_root = signed.signing_root;
            let foreign = Foreign { slot: place.0, pubkey: place.1, signing_root };
            delegation_record::imported(foreign, signed.delegation.as_ref())
        });
        let records: Vec<Record> = records.collect::<Result<_, RecordError>>()?;
        let claims = new
            .iter()
            .map(|(place, signed)| Claim { key: claim_key(*place).to_bytes(), value: signed.signing_root });
        append(log, Batch { records, claims: claims.collect() })?;
    }
    Ok(Imported { added: places.new.len(), known: places.known })
}

struct Places<'a> {
    new: Vec<(Place, &'a SignedPlace)>,
    known: usize,
}

/// Every place of a file, once, each with its one root.
fn check<'a>(log: &dyn Log, file: &'a Interchange, network: &Network) -> Result<Places<'a>, ImportError> {
    let mut seen: BTreeMap<Place, &SignedPlace> = BTreeMap::new();
    for key in &file.data {
        for signed in &key.signed_delegations {
            let place = (signed.slot, key.pubkey);
            if let Some(message) = &signed.delegation {
                let root = network.message_root(message).map_err(RecordError::from)?;
                if (message.slot, message.proposer) != place || root != signed.signing_root {
                    return Err(ImportError::OtherRoot(Box::new(place)));
                }
            }
            match seen.get(&place) {
                Some(other) if other.signing_root != signed.signing_root => {
                    let (first, second) = (other.signing_root, signed.signing_root);
                    return Err(ImportError::Conflict { place: Box::new(place), first, second });
                }
                Some(other) if other.delegation.is_some() => {}
                Some(_) | None => {
                    seen.insert(place, signed);
                }
            }
        }
    }
    let mut places = Places { new: Vec::new(), known: 0 };
    for (place, signed) in seen {
        match log.claimed(&claim_key(place).to_bytes())? {
            None => places.new.push((place, signed)),
            Some(root) if root == signed.signing_root => places.known = places.known.saturating_add(1),
            Some(first) => {
                let second = signed.signing_root;
                return Err(ImportError::Conflict { place: Box::new(place), first, second });
            }
        }
    }
    Ok(places)
}

fn append(log: &dyn Log, batch: Batch) -> Result<(), ImportError> {
    log.append_next(batch).map(drop).map_err(|error| RecordError::from(error).into())
}

fn place_of(claim: &Claim) -> Option<(BlsPublicKey, u64)> {
    let key = ClaimKey::from_bytes(&claim.key)?;
    let SignerId::Bls(signer) = key.signer else { return None };
    Some((signer, u64::from_be_bytes(key.place.try_into().ok()?)))
}

impl NetworkName {
    fn of(network: &Network) -> Self {
        let genesis_fork_version = FixedBytes(network.genesis_fork_version);
        Self { genesis_fork_version, chain_id: network.chain_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_is_the_end_of_the_next_epoch() {
        for (slot, last) in [(0, 63), (31, 63), (32, 95), (63, 95), (64, 127)] {
            assert_eq!(horizon(slot, 32), last);
        }
        assert_eq!(horizon(u64::MAX, 32), u64::MAX - 1);
        assert_eq!(horizon(7, 0), 8);
    }
}
