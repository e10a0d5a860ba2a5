//! Headers, blocks, their roots, and finality.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use earnest_builder_types::{ForkCodec, Versioned};
use earnest_http::{ApiError, Media, accept};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        chain_state::{Block, Checkpoint},
        node::Node,
    },
    Served, enveloped, ids,
};

/// Which headers are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct HeadersQuery {
    slot: Option<u64>,
    parent_root: Option<String>,
}

/// `GET /eth/v1/beacon/headers`: the head's, or those of a slot or a parent.
pub(super) async fn headers(
    State(served): State<Served>,
    Query(query): Query<HeadersQuery>,
) -> Result<Json<Value>, ApiError> {
    let node = &served.node;
    let found = match (query.slot, query.parent_root) {
        (None, None) => vec![ids::block(node, "head")?],
        (Some(slot), None) => vec![ids::block(node, &slot.to_string())?],
        (slot, Some(parent)) => {
            let parent = ids::block(node, &parent)?;
            let chain = node.chain.read();
            let fits = |block: &&Block| {
                block.header.parent_root == parent.root && slot.is_none_or(|slot| slot == block.header.slot)
            };
            chain.chain().filter(fits).cloned().collect()
        }
    };
    let all_final = found.iter().all(|block| ids::is_final(node, block));
    Ok(Json(enveloped(all_final, found.iter().map(|block| header_data(node, block)).collect::<Vec<_>>())))
}

/// `GET /eth/v1/beacon/headers/{block_id}`
pub(super) async fn header(
    State(served): State<Served>,
    Path(block_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let block = ids::block(&served.node, &block_id)?;
    Ok(Json(enveloped(ids::is_final(&served.node, &block), header_data(&served.node, &block))))
}

/// `GET /eth/v1/beacon/blocks/{block_id}/root`
pub(super) async fn root(
    State(served): State<Served>,
    Path(block_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let block = ids::block(&served.node, &block_id)?;
    Ok(Json(enveloped(ids::is_final(&served.node, &block), json!({"root": block.root}))))
}

/// `GET /eth/v2/beacon/blocks/{block_id}`: a whole signed block without its blobs, as JSON or SSZ. Genesis has
/// none, old ones are forgotten.
pub(super) async fn block(
    State(served): State<Served>,
    Path(block_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let block = ids::block(&served.node, &block_id)?;
    let contents = served.node.contents(block.root).ok_or_else(|| ApiError::not_found("block not kept"))?;
    let signed = contents.as_ref().clone().into_signed_block();
    let version = [("eth-consensus-version", served.node.settings.fork.as_str())];
    Ok(match accept(&headers, &[Media::Json, Media::Ssz])? {
        Media::Ssz => (version, [Media::Ssz.header()], signed.to_ssz()).into_response(),
        _ => {
            let finalized = ids::is_final(&served.node, &block);
            let Versioned { version: fork, data } = Versioned::new(signed);
            let body = json!({
                "version": fork, "execution_optimistic": false, "finalized": finalized, "data": data
            });
            (version, Json(body)).into_response()
        }
    })
}

/// `GET /eth/v1/beacon/states/{state_id}/finality_checkpoints`: those of the head, whatever the state.
pub(super) async fn finality(
    State(served): State<Served>,
    Path(state_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let state = ids::state(&served.node, &state_id)?;
    let (justified, finalized) = {
        let chain = served.node.chain.read();
        (chain.justified(), chain.finalized())
    };
    let shown = |one: Checkpoint| json!({"epoch": one.epoch.to_string(), "root": one.root});
    Ok(Json(enveloped(
        ids::is_final(&served.node, &state.block),
        json!({
            "previous_justified": shown(finalized),
            "current_justified": shown(justified),
            "finalized": shown(finalized),
        }),
    )))
}

/// `GET /eth/v1/beacon/states/{state_id}/randao`: the mix the next payload carries.
pub(super) async fn randao(
    State(served): State<Served>,
    Path(state_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let state = ids::state(&served.node, &state_id)?;
    let data = json!({"randao": state.block.randao_mix});
    Ok(Json(enveloped(ids::is_final(&served.node, &state.block), data)))
}

fn header_data(node: &Node, block: &Block) -> Value {
    json!({
        "root": block.root,
        "canonical": node.chain.read().is_canonical(block),
        "header": {"message": block.header, "signature": block.signature},
    })
}
