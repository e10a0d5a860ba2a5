//! The fold's base on the disk, to go on from after a restart. It can always be made anew from the chain, so a file that is
//! damaged, of another network or from another version is left aside.

use std::{
    io::{self, Write},
    path::Path,
};

use alloy_primitives::{Address, B256, keccak256};
use serde::{Deserialize, Serialize};

use super::{
    event::Contracts,
    state::{BlockRef, State, Terms},
};

/// Raised whenever state or events are read in another way.
const VERSION: u32 = 1;

/// What the file is of: with any other value it is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    version: u32,
    chain_id: u64,
    registry: Address,
    slasher: Address,
    market: Option<Address>,
    rollups: Option<Address>,
    from_block: u64,
    terms: Terms,
}

impl Identity {
    pub(super) const fn new(chain_id: u64, contracts: &Contracts, from_block: u64, terms: Terms) -> Self {
        let Contracts { registry, slasher, market, rollups } = *contracts;
        Self { version: VERSION, chain_id, registry, slasher, market, rollups, from_block, terms }
    }
}

#[derive(Serialize)]
struct Outgoing<'a> {
    identity: &'a Identity,
    block: &'a BlockRef,
    state: &'a State,
}

#[derive(Deserialize)]
struct Incoming {
    identity: Identity,
    block: BlockRef,
    state: State,
}

/// Writes the file whole or not at all.
pub(super) fn write(path: &Path, identity: &Identity, block: &BlockRef, state: &State) -> io::Result<()> {
    let body = serde_json::to_vec(&Outgoing { identity, block, state })?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", keccak256(&body))?;
    file.write_all(&body)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Reads the file; none, with the reason in the log, if it is of no use.
pub(super) fn read(path: &Path, identity: &Identity) -> Option<(BlockRef, State)> {
    match try_read(path, identity) {
        Ok(found) => found,
        Err(reason) => {
            tracing::warn!(file = %path.display(), reason, "the registry's checkpoint is of no use; it is made anew");
            None
        }
    }
}

fn try_read(path: &Path, identity: &Identity) -> Result<Option<(BlockRef, State)>, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("no end of the first line")?;
    let (hash, body) = bytes.split_at_checked(end).ok_or("too short")?;
    let body = body.get(1..).unwrap_or_default();
    let hash: B256 = std::str::from_utf8(hash).ok().and_then(|hash| hash.parse().ok()).ok_or("no hash")?;
    if keccak256(body) != hash {
        return Err("its hash does not match".to_owned());
    }
    let found: Incoming = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if found.identity != *identity {
        return Err("it is of other contracts, or of another version".to_owned());
    }
    Ok(Some((found.block, found.state)))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use earnest_protocol::BlsPublicKey;

    use super::{super::event::Event, *};

    fn identity() -> Identity {
        let contracts = Contracts {
            registry: Address::repeat_byte(1),
            slasher: Address::repeat_byte(2),
            market: None,
            rollups: Some(Address::repeat_byte(3)),
        };
        let terms = Terms { min_collateral: U256::from(5), fraud_window: 7 };
        Identity::new(1, &contracts, 9, terms)
    }

    fn state() -> State {
        let mut state = State::default();
        let root = B256::repeat_byte(4);
        let keys = [BlsPublicKey::repeat_byte(1), BlsPublicKey::repeat_byte(2)].into();
        let events = [
            Event::Registered { root, owner: Address::repeat_byte(5), collateral: U256::from(6), keys },
            Event::OptedIn { root, committer: Address::repeat_byte(7) },
            Event::Escrow {
                account: Address::repeat_byte(5),
                relay: Address::repeat_byte(8),
                amount: U256::MAX,
                withdrawn: false,
            },
        ];
        for event in &events {
            state.apply(event, 10);
        }
        state
    }

    const BLOCK: BlockRef =
        BlockRef { number: 11, hash: B256::repeat_byte(12), parent: B256::repeat_byte(13), time: 14 };

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("registry.json");
        assert_eq!(read(&path, &identity()), None);
        write(&path, &identity(), &BLOCK, &state()).unwrap();
        assert_eq!(read(&path, &identity()), Some((BLOCK, state())));
        assert_eq!(read(&path, &Identity { from_block: 0, ..identity() }), None, "of another deployment");
    }

    #[test]
    fn no_damage_goes_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        write(&path, &identity(), &BLOCK, &state()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path, &identity()), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(&path, &identity()), None, "{at} bytes");
        }
    }
}
