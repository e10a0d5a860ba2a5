//! A local block for a validator to sign, and where proposers want their fees.

use alloy_primitives::{Address, B256};
use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use earnest_builder_types::{BlsSignature, ForkCodec};
use earnest_http::{ApiError, Media, accept};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use serde_with::{DisplayFromStr, serde_as};

use super::{super::outcome::ProduceError, Served};

/// What the proposer brings to its block.
#[derive(Debug, Deserialize)]
pub(super) struct ProduceQuery {
    randao_reveal: BlsSignature,
    #[serde(default)]
    graffiti: B256,
}

impl From<ProduceError> for ApiError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Slot { .. } => Self::bad_request(error.to_string()),
            ProduceError::Missed(_) | ProduceError::Engine(_) => Self::unavailable(error.to_string()),
        }
    }
}

/// `GET /eth/v3/validator/blocks/{slot}`: always a local block, with the payload of the execution client;
/// builders are asked by whoever asks here.
pub(super) async fn block(
    State(served): State<Served>,
    Path(slot): Path<u64>,
    Query(query): Query<ProduceQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let media = accept(&headers, &[Media::Json, Media::Ssz])?;
    let produced = served.node.produce(slot, query.randao_reveal, query.graffiti).await?;
    let (fork, value) = (produced.contents.fork(), produced.value.to_string());
    let described = [
        ("eth-consensus-version", fork.to_string()),
        ("eth-execution-payload-blinded", "false".to_owned()),
        ("eth-execution-payload-value", value.clone()),
        ("eth-consensus-block-value", "0".to_owned()),
    ];
    Ok(match media {
        Media::Ssz => (described, [Media::Ssz.header()], produced.contents.to_ssz()).into_response(),
        _ => {
            let body = json!({
                "version": fork,
                "execution_payload_blinded": false,
                "execution_payload_value": value,
                "consensus_block_value": "0",
                "data": produced.contents,
            });
            (described, Json(body)).into_response()
        }
    })
}

/// Where a proposer wants its fees.
#[serde_as]
#[derive(Debug, Deserialize)]
pub(super) struct Preparation {
    #[serde_as(as = "DisplayFromStr")]
    validator_index: u64,
    fee_recipient: Address,
}

/// `POST /eth/v1/validator/prepare_beacon_proposer`: counts for payloads prepared from now on. Indices that
/// no validator has are passed over.
pub(super) async fn prepare_proposers(
    State(served): State<Served>,
    Json(preparations): Json<Vec<Preparation>>,
) -> StatusCode {
    let mut chosen = served.node.fee_recipients.write();
    for one in preparations {
        if served.node.validator(one.validator_index).is_some() {
            chosen.insert(one.validator_index, one.fee_recipient);
        }
    }
    StatusCode::OK
}
