//! What the head state says of validators.

use alloy_primitives::B256;
use alloy_rpc_types_beacon::{
    BlsPublicKey,
    validator::{ValidatorData, ValidatorsResponse},
};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, header};
use serde::Serialize;

use super::BeaconClient;
use crate::{error::ChainError, transport::Endpoint};

/// Validators asked for by one `GET`; the API promises no more.
const IDS_IN_QUERY: usize = 64;
/// Validators asked for by one `POST`.
const IDS_IN_BODY: usize = 1_000;
/// Requests at work at once for one list.
const REQUESTS_AT_ONCE: usize = 4;
/// Bytes of an answer for each validator asked for. A node writes about 500.
const BYTES_EACH: usize = 2_048;
/// Bytes of an answer besides.
const BYTES_BESIDES: usize = 4_096;

const PATH: &str = "/eth/v1/beacon/states/head/validators";

/// A validator as the head state has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatorRecord {
    /// Index in the beacon state.
    pub index: u64,
    /// BLS public key.
    pub pubkey: BlsPublicKey,
    /// Status as the API names it, `active_ongoing` for instance.
    pub status: String,
    /// Whether it was slashed.
    pub slashed: bool,
    /// Withdrawal credentials.
    pub withdrawal_credentials: B256,
}

impl ValidatorRecord {
    /// Whether the validator has duties.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status.starts_with("active")
    }

    /// Whether a registration of the validator is to be taken: `is_eligible_for_registration` of builder-specs
    /// (Bellatrix, "Validator registration processing"), which is active or pending.
    ///
    /// A validator that was slashed is active until its exit epoch, and the specification makes no exception of
    /// it; see [`Self::slashed`].
    #[must_use]
    pub fn may_register(&self) -> bool {
        self.is_active() || self.status.starts_with("pending")
    }
}

impl From<ValidatorData> for ValidatorRecord {
    fn from(data: ValidatorData) -> Self {
        Self {
            index: data.index,
            pubkey: data.validator.pubkey,
            status: data.status,
            slashed: data.validator.slashed,
            withdrawal_credentials: data.validator.withdrawal_credentials,
        }
    }
}

impl BeaconClient {
    /// The validators of these indices in the head state. Unknown ones are left out.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn validators(&self, indices: &[u64]) -> Result<Vec<ValidatorRecord>, ChainError> {
        self.validators_of(indices.iter().map(ToString::to_string).collect()).await
    }

    /// The validators of these keys in the head state, in no particular order. Unknown ones are left out.
    ///
    /// Long lists go in parts, some at once, by `POST`; to nodes that have only the `GET` in smaller parts.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer to one of the parts.
    pub async fn validators_by_pubkey(
        &self,
        pubkeys: &[BlsPublicKey],
    ) -> Result<Vec<ValidatorRecord>, ChainError> {
        self.validators_of(pubkeys.iter().map(ToString::to_string).collect()).await
    }

    async fn validators_of(&self, mut ids: Vec<String>) -> Result<Vec<ValidatorRecord>, ChainError> {
        // The API wants each id once.
        let mut seen = std::collections::HashSet::with_capacity(ids.len());
        ids.retain(|id| seen.insert(id.clone()));
        drop(seen);
        let parts: Vec<Vec<String>> = ids.chunks(IDS_IN_BODY).map(<[String]>::to_vec).collect();
        let answers = stream::iter(parts)
            .map(|ids| async move {
                let ids = ids.as_slice();
                self.ask(|node| async move { validators(&node, ids).await }).await
            })
            .buffered(REQUESTS_AT_ONCE);
        answers.try_concat().await
    }
}

/// The validators of these ids in the head state, by `GET` if they are few. No ids, no validators: the API would
/// take an empty list for no filter.
pub(super) async fn validators(node: &Endpoint, ids: &[String]) -> Result<Vec<ValidatorRecord>, ChainError> {
    if ids.len() > IDS_IN_QUERY {
        match by_body(node, ids).await {
            Err(error) if has_no_post(&error) => {
                tracing::debug!(node = node.name(), %error, "no validators by POST, asking by GET");
            }
            answer => return answer,
        }
    }
    let mut found = Vec::with_capacity(ids.len());
    for some in ids.chunks(IDS_IN_QUERY) {
        let request = node.request(Method::GET, &format!("{PATH}?id={}", some.join(",")));
        found.extend(records(node, request, some.len()).await?);
    }
    Ok(found)
}

/// Whether the node may have no `POST` here. Some then close the connection without reading the body.
fn has_no_post(error: &ChainError) -> bool {
    match error {
        ChainError::Status { status, .. } => matches!(status, 404 | 405 | 415 | 501),
        ChainError::Unreachable { .. } => true,
        _ => false,
    }
}

async fn by_body(node: &Endpoint, ids: &[String]) -> Result<Vec<ValidatorRecord>, ChainError> {
    #[derive(Serialize)]
    struct Filter<'a> {
        ids: &'a [String],
    }
    records(node, node.request(Method::POST, PATH).json(&Filter { ids }), ids.len()).await
}

/// Sends, and reads no more than so many validators can take: a node that does not mind the filter sends them all.
async fn records(
    node: &Endpoint,
    request: reqwest::RequestBuilder,
    count: usize,
) -> Result<Vec<ValidatorRecord>, ChainError> {
    let bounded = node.at_most(count.saturating_mul(BYTES_EACH).saturating_add(BYTES_BESIDES));
    let answer: ValidatorsResponse = bounded.json(request.header(header::ACCEPT, "application/json")).await?;
    Ok(answer.data.into_iter().map(ValidatorRecord::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_active_or_pending_may_register() {
        let cases = [
            ("pending_initialized", true),
            ("pending_queued", true),
            ("active_ongoing", true),
            ("active_exiting", true),
            ("active_slashed", true),
            ("exited_unslashed", false),
            ("exited_slashed", false),
            ("withdrawal_possible", false),
            ("withdrawal_done", false),
            ("", false),
        ];
        for (status, may_register) in cases {
            let record = ValidatorRecord {
                index: 1,
                pubkey: BlsPublicKey::ZERO,
                status: status.to_owned(),
                slashed: status.ends_with("slashed"),
                withdrawal_credentials: B256::ZERO,
            };
            assert_eq!(record.may_register(), may_register, "{status}");
            assert_eq!(record.is_active(), status.starts_with("active"), "{status}");
        }
    }

    #[test]
    fn any_bytes_are_validators_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            if let Ok(answer) = serde_json::from_slice::<ValidatorsResponse>(bytes) {
                let _ =
                    answer.data.into_iter().map(ValidatorRecord::from).filter(ValidatorRecord::may_register);
            }
        });
    }
}
