//! A block for a validator to sign, as the node makes it from its own execution client's payload.

use alloy_primitives::{B256, U256};
use earnest_builder_types::{BlockContents, BlsSignature, ForkCodec, ForkName};
use reqwest::{Method, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_with::{DisplayFromStr, serde_as};

use super::BeaconClient;
use crate::{error::ChainError, transport::Endpoint};

/// A local block, and what its payload pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalBlock {
    /// The block with its blobs.
    pub contents: BlockContents,
    /// What the payload pays the fee recipient, in wei.
    pub value: U256,
}

#[serde_as]
#[derive(Deserialize)]
struct ProduceResponse<'a> {
    version: ForkName,
    execution_payload_blinded: bool,
    #[serde_as(as = "DisplayFromStr")]
    execution_payload_value: U256,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl BeaconClient {
    /// A block for `slot` with the node's own payload: `GET /eth/v3/validator/blocks/{slot}`, with a
    /// `builder_boost_factor` of 0 so that no builder is asked.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives one; [`ChainError::Malformed`] if it is blinded.
    pub async fn produce_block(
        &self,
        slot: u64,
        randao_reveal: &BlsSignature,
        graffiti: B256,
    ) -> Result<LocalBlock, ChainError> {
        let path = format!(
            "/eth/v3/validator/blocks/{slot}?randao_reveal={randao_reveal}&graffiti={graffiti}&builder_boost_factor=0"
        );
        self.ask(|node| {
            let path = path.clone();
            async move { produce(&node, &path).await }
        })
        .await
    }
}

async fn produce(node: &Endpoint, path: &str) -> Result<LocalBlock, ChainError> {
    let request = node.request(Method::GET, path).header(header::ACCEPT, "application/json");
    let (_, body) = node.send_ok(request).await?;
    let answer: ProduceResponse<'_> =
        serde_json::from_slice(&body).map_err(|error| node.malformed(&error))?;
    if answer.execution_payload_blinded {
        return Err(node.malformed(&"a blinded block where a full one was asked for"));
    }
    let contents = BlockContents::from_json(answer.version, answer.data.get().as_bytes())
        .map_err(|error| node.malformed(&error))?;
    Ok(LocalBlock { contents, value: answer.execution_payload_value })
}
