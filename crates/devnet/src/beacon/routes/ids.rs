//! `block_id` and `state_id` of the beacon API.

use alloy_primitives::B256;
use earnest_http::ApiError;

use super::super::{
    chain_state::{Block, ChainState},
    node::Node,
};

/// What a state id names: the block after which the state stands, and the slot it was taken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateAt {
    pub(super) block: Block,
    pub(super) slot: u64,
}

enum Id {
    Head,
    Genesis,
    Justified,
    Finalized,
    Slot(u64),
    Root(B256),
}

fn parse(id: &str) -> Result<Id, ApiError> {
    Ok(match id {
        "head" => Id::Head,
        "genesis" => Id::Genesis,
        "justified" => Id::Justified,
        "finalized" => Id::Finalized,
        root if root.starts_with("0x") => {
            Id::Root(root.parse().map_err(|_| ApiError::bad_request("not a root of 32 bytes"))?)
        }
        slot => Id::Slot(slot.parse().map_err(|_| ApiError::bad_request("neither a slot nor a name"))?),
    })
}

fn named<'a>(chain: &'a ChainState, id: &Id) -> Option<&'a Block> {
    match id {
        Id::Head => Some(chain.head()),
        Id::Genesis => chain.block(chain.genesis_root()),
        Id::Justified => chain.block(chain.justified().root),
        Id::Finalized => chain.block(chain.finalized().root),
        Id::Slot(_) | Id::Root(_) => None,
    }
}

/// The block of this id; by slot only blocks on the chain of the head.
pub(super) fn block(node: &Node, id: &str) -> Result<Block, ApiError> {
    let id = parse(id)?;
    let chain = node.chain.read();
    let block = match id {
        Id::Slot(slot) => chain.block_at(slot),
        Id::Root(root) => chain.block(root),
        _ => named(&chain, &id),
    };
    block.cloned().ok_or_else(|| ApiError::not_found("block not found"))
}

/// The state of this id. By slot it is taken to that slot, though no block may be there; not into the future.
pub(super) fn state(node: &Node, id: &str) -> Result<StateAt, ApiError> {
    let id = parse(id)?;
    let current = node.current_slot();
    let chain = node.chain.read();
    let found = match id {
        Id::Slot(slot) if slot > current.max(chain.head().header.slot) => None,
        Id::Slot(slot) => chain.block_at_or_before(slot).map(|block| (block, slot)),
        Id::Root(root) => chain.block_with_state(root).map(|block| (block, block.header.slot)),
        _ => named(&chain, &id).map(|block| (block, block.header.slot)),
    };
    let (block, slot) = found.ok_or_else(|| ApiError::not_found("state not found"))?;
    Ok(StateAt { block: block.clone(), slot })
}

/// Whether the block is final.
pub(super) fn is_final(node: &Node, block: &Block) -> bool {
    let chain = node.chain.read();
    let final_slot = chain.block(chain.finalized().root).map_or(0, |block| block.header.slot);
    block.header.slot <= final_slot && chain.is_canonical(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_slots_or_roots() {
        let root = format!("0x{}", "ab".repeat(32));
        for good in ["head", "genesis", "justified", "finalized", "0", "18446744073709551615", &root] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "tail", "-1", "1.5", "0x", "0x12", "18446744073709551616", &root[..64]] {
            assert_eq!(parse(bad).err().map(|error| error.status.as_u16()), Some(400), "{bad}");
        }
    }

    #[test]
    fn any_text_is_an_id_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            let _ = parse(&String::from_utf8_lossy(bytes));
        });
    }
}
